//! Decides what an S3 failure means for the people who must act on it. By types and error codes, not by words. Pure.

use std::error::Error;
use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::dns::ResolveDnsError;

use crate::RequestError;
use crate::error::Place;

/// Turns an SDK error into ours.
pub(crate) fn classify<E>(
    place: &Arc<Place>,
    action: &'static str,
    error: &SdkError<E, HttpResponse>,
) -> RequestError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error.raw_response() {
        Some(response) => answered(place, action, response.status().as_u16(), error.code()),
        None => unanswered(place, error),
    }
}

/// Whether the server answered that it did not do what it was asked: a status below 500. Anything else leaves open what
/// became of the request.
pub(crate) fn is_definite<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ServiceError(error) => {
            (400..500).contains(&error.raw().status().as_u16()) || error.raw().status().as_u16() == 501
        }
        SdkError::ConstructionFailure(_) => true,
        _ => false,
    }
}

fn answered(place: &Arc<Place>, action: &'static str, status: u16, code: Option<&str>) -> RequestError {
    let place = Arc::clone(place);
    let code = code.unwrap_or("no error code").to_owned();
    let hint = match code.as_str() {
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            ": the bucket is in another region; correct storage.s3.region"
        }
        "InvalidObjectState" => {
            ": objects of this storage class cannot be read at once; name another in storage.s3.storageClass"
        }
        "InvalidStorageClass" => ": correct storage.s3.storageClass",
        _ => "",
    };
    match (code.as_str(), status) {
        ("NoSuchBucket", _) => RequestError::BucketNotFound(place),
        ("RequestTimeTooSkewed" | "RequestExpired", _) => RequestError::ClockSkewed { place, action, code },
        ("BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch", _) => {
            RequestError::ChecksumRefused { place, action, code }
        }
        (code, status) if is_full(code, status) => {
            RequestError::StorageFull { place, action, code: code.to_owned() }
        }
        (_, 401 | 403) | ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) if hint.is_empty() => {
            RequestError::AccessDenied { place, action, code }
        }
        // S3 answers a request whose body did not arrive in time with a status that says it were the client's fault.
        ("RequestTimeout", 400) => RequestError::Refused { place, action, status: 408, code, hint },
        _ => RequestError::Refused { place, action, status, code, hint },
    }
}

/// What servers say when their disks are full or a quota is used up: 507 as HTTP has it, or codes of their own.
fn is_full(code: &str, status: u16) -> bool {
    status == 507
        || matches!(
            code,
            "XMinioStorageFull"
                | "XMinioAdminBucketQuotaExceeded"
                | "InsufficientStorage"
                | "InsufficientStorageSpace"
                | "InsufficientCapacity"
                | "QuotaExceeded"
                | "NotEnoughSpace"
        )
}

fn unanswered(place: &Arc<Place>, error: &(dyn Error + 'static)) -> RequestError {
    let place = Arc::clone(place);
    let cause = innermost(error);
    match find::<CredentialsError>(error) {
        Some(CredentialsError::ProviderError(_) | CredentialsError::ProviderTimedOut(_)) => {
            return RequestError::IdentityFailed { place, cause };
        }
        Some(_) => return RequestError::NoIdentity(place),
        None => {}
    }
    if find::<ResolveDnsError>(error).is_some() {
        RequestError::HostNotFound { place, cause }
    } else if let Some(tls) = find::<rustls::Error>(error) {
        RequestError::TlsFailed { place, cause: tls.to_string() }
    } else {
        RequestError::ConnectionFailed { place, cause }
    }
}

/// The error of a type among an error and its causes. What an `io::Error` wraps counts as its cause; its own `source`
/// would pass that over.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(<dyn Error>::downcast_ref)
}

/// The last cause says what happened; those around it only where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::reasons;

    use super::*;

    fn place() -> Arc<Place> {
        Arc::new(Place {
            bucket: "backups".into(),
            server: "https://s3.example".into(),
            identity: "the keys in Secret backup-s3".into(),
        })
    }

    #[test]
    fn answers_have_their_reasons() {
        for (code, status, reason, retryable) in [
            ("NoSuchBucket", 404, reasons::BUCKET_NOT_FOUND, false),
            ("AccessDenied", 403, reasons::ACCESS_DENIED, false),
            ("InvalidAccessKeyId", 403, reasons::ACCESS_DENIED, false),
            ("ExpiredToken", 400, reasons::ACCESS_DENIED, false),
            ("RequestTimeTooSkewed", 403, reasons::CLOCK_SKEWED, false),
            ("BadDigest", 400, reasons::CHECKSUM_REFUSED, true),
            ("RequestTimeout", 400, reasons::STORAGE_ERROR, true),
            ("XMinioStorageFull", 507, reasons::STORAGE_FULL, true),
            ("QuotaExceeded", 403, reasons::STORAGE_FULL, true),
            ("InvalidObjectState", 403, reasons::STORAGE_ERROR, false),
            ("InternalError", 200, reasons::STORAGE_ERROR, true),
            ("AuthorizationHeaderMalformed", 400, reasons::STORAGE_ERROR, false),
            ("SlowDown", 503, reasons::STORAGE_ERROR, true),
            ("NotImplemented", 501, reasons::STORAGE_ERROR, false),
        ] {
            let error = answered(&place(), "put an object", status, Some(code));
            assert_eq!((error.reason(), error.is_retryable()), (reason, retryable), "{code}");
            assert!(error.to_string().contains("backups at https://s3.example"), "{error}");
        }
    }

    #[test]
    fn what_an_io_error_wraps_is_found() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(unanswered(&place(), &wrapped).reason(), reasons::TLS_FAILED);
        let dns = io::Error::other(ResolveDnsError::new(io::Error::other("unknown")));
        assert_eq!(unanswered(&place(), &dns).reason(), reasons::HOST_NOT_FOUND);
        let identity = CredentialsError::provider_timed_out(std::time::Duration::from_secs(1));
        let error = unanswered(&place(), &identity);
        assert!(error.is_transient() && error.reason() == reasons::ACCESS_DENIED, "{error}");
        let none = CredentialsError::not_loaded("none");
        assert!(!unanswered(&place(), &none).is_retryable());
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(unanswered(&place(), &refused).reason(), reasons::CONNECTION_FAILED);
    }
}
