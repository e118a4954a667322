//! Cuts texts whose length somebody else decides. Pure.

/// The longest beginning that takes no more than so many bytes in JSON, whose escapes may make a text six times as long.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut written = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        written += if c.is_control() || matches!(c, '"' | '\\') { 6 } else { c.len_utf8() };
        (written > limit).then_some(at)
    });
    end.map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_beginning_is_left_that_fits_and_is_as_long_as_can_be(text in "[a\"\\\\\u{1}\u{7f}é𝄞]{0,100}", limit in 0_usize..300) {
            let beginning = cut(&text, limit);
            prop_assert!(text.starts_with(beginning));
            prop_assert!(serde_json::to_string(beginning).unwrap().len() <= limit + 2);
            prop_assert!(beginning.len() + 6 > limit / 6 || beginning == text);
            prop_assert_eq!(cut(beginning, limit), beginning);
        }
    }

    #[test]
    fn a_plain_text_is_cut_at_the_limit() {
        assert_eq!((cut("abc", 3), cut("abcd", 3), cut("éa", 1)), ("abc", "abc", ""));
    }
}
