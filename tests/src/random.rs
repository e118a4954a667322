//! Random names and passwords.

use anyhow::{Context as _, Result};

/// `length` random lower-case letters and digits, the first one a letter, fit for passwords and for names in Kubernetes.
pub fn word(length: usize) -> Result<String> {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz";
    const ALL: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).ok().context("the machine gives no random bytes")?;
    let pick = |place: usize, byte: u8| {
        let letters = if place == 0 { LETTERS } else { ALL };
        char::from(letters[usize::from(byte) % letters.len()])
    };
    Ok(bytes.into_iter().enumerate().map(|(place, byte)| pick(place, byte)).collect())
}
