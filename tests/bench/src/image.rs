//! What the image gives its programs besides themselves, so that they are measured as they run. Pure.

const CONTAINERFILE: &str = include_str!("../../../Containerfile");

/// The image's environment.
pub fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    CONTAINERFILE.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_allocator_is_fixed() {
        let set: Vec<_> = environment().collect();
        assert_eq!(set, [("MALLOC_MMAP_THRESHOLD_", "1048576")]);
    }
}
