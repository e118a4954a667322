//! Decides where the next page of a listing begins, and whether the listing can be believed. Pure.
//!
//! A list that lacks something looks like one that is whole, and one that is repeated shows backups that are not there: both would let
//! the wrong ones go. So each is an error.

use std::sync::Arc;

use crate::RequestError;
use crate::error::Place;

/// What a server is told to go on with: a token, or a key with a version or an upload.
pub(crate) type Cursor = (Option<String>, Option<String>);

/// A way through the pages of one listing.
#[derive(Debug)]
pub(crate) struct Walk {
    cursor: Cursor,
    ended: bool,
    /// A cursor of before. It moves on after 1, 2, 4, 8, … pages (Brent's cycle detection), so a circle of any length meets it, in memory
    /// that does not grow.
    mark: Cursor,
    pages: u64,
    mark_at: u64,
}

impl Walk {
    pub fn new() -> Self {
        Self { cursor: (None, None), ended: false, mark: (None, None), pages: 0, mark_at: 1 }
    }

    /// Where the next page begins; none after the last.
    pub fn cursor(&self) -> Option<Cursor> {
        (!self.ended).then(|| self.cursor.clone())
    }

    /// Takes in what a page says of the one after it.
    pub fn advance(&mut self, place: &Arc<Place>, truncated: bool, next: Cursor) -> Result<(), RequestError> {
        if !truncated {
            self.ended = true;
            return Ok(());
        }
        let wrong = |problem| RequestError::ListingWrong { place: place.clone(), problem };
        if next.0.as_ref().is_none_or(String::is_empty) {
            return Err(wrong("it says that there is more, and not where"));
        }
        if next == self.cursor || next == self.mark {
            return Err(wrong("it leads back to a page that was shown before"));
        }
        self.pages += 1;
        if self.pages == self.mark_at {
            self.mark.clone_from(&next);
            self.mark_at *= 2;
        }
        self.cursor = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::reasons;
    use proptest::prelude::*;

    use super::*;

    fn place() -> Arc<Place> {
        Arc::new(Place { bucket: "b".into(), server: "s".into(), identity: "i".into() })
    }

    /// Pages until the end, each said by its number; an error where the server is not to be believed.
    fn walk(next: impl Fn(usize) -> Option<usize>) -> Result<usize, RequestError> {
        let mut walk = Walk::new();
        let (mut page, mut shown) = (0, 0);
        while walk.cursor().is_some() {
            shown += 1;
            let next = next(page);
            let token = next.map(|next| next.to_string());
            walk.advance(&place(), next.is_some(), (token, None))?;
            page = next.unwrap_or(page);
        }
        Ok(shown)
    }

    #[test]
    fn more_without_a_place_where_is_an_error() {
        for next in [(None, None), (Some(String::new()), None), (None, Some("version".to_owned()))] {
            let mut walk = Walk::new();
            let error = walk.advance(&place(), true, next.clone()).unwrap_err();
            assert_eq!((error.reason(), error.is_retryable()), (reasons::STORAGE_ERROR, true));
            assert!(error.to_string().contains("not where"), "{error}");
            walk.advance(&place(), false, next).unwrap();
            assert_eq!(walk.cursor(), None);
        }
    }

    proptest! {
        #[test]
        fn every_listing_ends_and_every_circle_is_found(pages in 1_usize..200, back in prop::option::of(1_usize..200)) {
            let end = |page| (page + 1 < pages).then_some(page + 1);
            let Some(back) = back.filter(|back| *back < pages) else {
                prop_assert_eq!(walk(end).unwrap(), pages);
                return Ok(());
            };
            let error = walk(|page| Some(end(page).unwrap_or(back))).unwrap_err();
            prop_assert!(error.to_string().contains("shown before"), "{}", error);
        }
    }
}
