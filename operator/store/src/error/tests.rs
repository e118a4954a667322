//! Every error of the store with its reason and whether another attempt may succeed. Reasons are API, so they stand here as text.

use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::manifest::ManifestError;

use super::*;
use crate::{CatalogueError, CleanUpError, NoProgress, RecipientError, SealError};

/// A variant without a row does not compile; neither does a row without a variant.
macro_rules! assert_reasons {
    ($type:ident { $($pattern:pat => $error:expr, $reason:literal, $retryable:literal;)+ }) => {
        let _ = |error: &$type| match error {
            $($pattern => {})+
        };
        $(
            let error: $type = $error;
            assert!(matches!(error, $pattern), "{error}");
            assert_eq!((error.reason(), error.is_retryable()), ($reason, $retryable), "{error}");
        )+
    };
}

fn place() -> Arc<Place> {
    Arc::new(Place { bucket: "backups".into(), server: "https://s3.example".into(), identity: "keys".into() })
}

fn refused(status: u16) -> RequestError {
    RequestError::Refused { place: place(), action: "put an object", status, code: "Code".into(), hint: "" }
}

#[test]
fn requests() {
    use RequestError::*;
    let (action, code, cause) = ("put an object", || "Code".to_owned(), || "cause".to_owned());
    assert_reasons!(RequestError {
        BucketNotFound(_) => BucketNotFound(place()), "BucketNotFound", false;
        AccessDenied { .. } => AccessDenied { place: place(), action, code: code() }, "AccessDenied", false;
        NoIdentity(_) => NoIdentity(place()), "AccessDenied", false;
        IdentityFailed { .. } => IdentityFailed { place: place(), cause: cause() }, "AccessDenied", true;
        ClockSkewed { .. } => ClockSkewed { place: place(), action, code: code() }, "ClockSkewed", false;
        StorageFull { .. } => StorageFull { place: place(), action, code: code() }, "StorageFull", true;
        ChecksumRefused { .. } => ChecksumRefused { place: place(), action, code: code() }, "ChecksumRefused", true;
        ConditionalWriteUnsupported { .. } =>
            ConditionalWriteUnsupported { place: place(), problem: "501" }, "ConditionalWriteUnsupported", false;
        HostNotFound { .. } => HostNotFound { place: place(), cause: cause() }, "HostNotFound", true;
        ConnectionFailed { .. } => ConnectionFailed { place: place(), cause: cause() }, "ConnectionFailed", true;
        TlsFailed { .. } => TlsFailed { place: place(), cause: cause() }, "TlsFailed", false;
        TooLong { .. } => TooLong { place: place(), key: "key".into() }, "StorageError", false;
        ListingWrong { .. } => ListingWrong { place: place(), problem: "in circles" }, "StorageError", true;
        Refused { .. } => refused(400), "StorageError", false;
    });
    for (status, retryable) in [
        (200, true),
        (404, false),
        (408, true),
        (409, true),
        (429, true),
        (500, true),
        (501, false),
        (503, true),
    ] {
        assert_eq!(refused(status).is_retryable(), retryable, "{status}");
    }
}

#[test]
fn reading() {
    use ReadError::*;
    let key = || "key".to_owned();
    let mismatch =
        || IdentityMismatch { key: key(), recipients: key(), secret: "secret".into(), held: "held".into() };
    assert_reasons!(ReadError {
        Request(_) => Request(refused(503)), "StorageError", true;
        ObjectMissing { .. } => ObjectMissing { place: place(), key: key() }, "ObjectMissing", false;
        ObjectDamaged { .. } => ObjectDamaged { key: key(), problem: "cut".into() }, "ObjectDamaged", false;
        ObjectReplaced { .. } => ObjectReplaced { place: place(), key: key() }, "ObjectReplaced", true;
        IdentityMismatch { .. } => mismatch(), "IdentityMismatch", false;
        PassphraseMismatch { .. } => PassphraseMismatch { key: key(), secret: "old-key".into() }, "IdentityMismatch", false;
        ReadFailed { .. } => ReadFailed { key: key(), cause: "stopped".into() }, "StorageError", true;
    });
}

#[test]
fn uploading() {
    use UploadError::*;
    let key = || "key".to_owned();
    let not_as_asked = || NotAsAsked {
        place: place(),
        key: key(),
        what: "storage class",
        wanted: "GLACIER_IR".into(),
        found: "STANDARD".into(),
    };
    assert_reasons!(UploadError {
        Request(_) => Request(refused(404)), "StorageError", false;
        UploadGone { .. } => UploadGone { place: place(), key: key() }, "StorageError", true;
        NotAsAsked { .. } => not_as_asked(), "StorageOptionIgnored", false;
        StoredDiffers { .. } => StoredDiffers { place: place(), key: key(), problem: "cut".into() }, "ObjectDamaged", true;
        ChangedInMemory(_) => ChangedInMemory(key()), "InternalError", true;
        TooManyParts { .. } => TooManyParts { key: key(), part_size: 1 }, "StorageError", true;
    });
}

#[test]
fn probing() {
    use ProbeError::*;
    let leftovers = CleanUpError::Leftovers { place: place(), prefix: "p".into(), left: 1 };
    let unsupported =
        || ChecksumUnsupported { place: place(), algorithm: "CRC32", problem: "accepted".into() };
    assert_reasons!(ProbeError {
        Request(_) => Request(refused(503)), "StorageError", true;
        Upload(_) => Upload(UploadError::ChangedInMemory("key".into())), "InternalError", true;
        CleanUp(_) => CleanUp(leftovers), "StorageError", true;
        ChecksumUnsupported { .. } => unsupported(), "ChecksumUnsupported", false;
        UploadsNotListed(_) => UploadsNotListed(place()), "StorageError", false;
        Differs { .. } => Differs { place: place(), key: "key".into() }, "ObjectDamaged", false;
        TooSlow { .. } => TooSlow { place: place(), limit: Duration::ZERO }, "ConnectionFailed", true;
    });
}

#[test]
fn catalogue_and_clean_up() {
    let unreadable =
        || CatalogueError::Manifest { place: place(), key: "key".into(), problem: ManifestError::Newer(9) };
    let uncertain =
        || CatalogueError::ManifestUncertain { key: "key".into(), cause: Box::new(refused(403).into()) };
    assert_reasons!(CatalogueError {
        CatalogueError::Request(_) => refused(503).into(), "StorageError", true;
        CatalogueError::Manifest { .. } => unreadable(), "StorageError", false;
        CatalogueError::ManifestUncertain { .. } => uncertain(), "StorageError", true;
    });
    let leftovers = || CleanUpError::Leftovers { place: place(), prefix: "p".into(), left: 1 };
    assert_reasons!(CleanUpError {
        CleanUpError::Request(_) => refused(400).into(), "StorageError", false;
        CleanUpError::Leftovers { .. } => leftovers(), "StorageError", true;
    });
}

#[test]
fn the_rest() {
    let io = || std::io::Error::other("broken");
    assert_reasons!(SealError {
        SealError::Source(_) => SealError::Source(io()), "InternalError", true;
        SealError::UploadEnded => SealError::UploadEnded, "StorageError", true;
        SealError::Machine(_) => SealError::Machine(io()), "InternalError", true;
        SealError::Recipients(_) => SealError::Recipients(age::EncryptError::MissingRecipients), "InvalidRecipient", false;
    });
    for error in [
        RecipientError::NoRecipient,
        RecipientError::InvalidRecipient { index: 0, problem: "no" },
        RecipientError::PrivateKey { index: 0 },
    ] {
        assert_eq!(error.reason(), "InvalidRecipient");
    }
    assert_eq!(NoProgress { limit: Duration::ZERO }.reason(), "NoProgress");
}
