//! Makes an S3 client from what a task says of its bucket. Reads mounted files; sends nothing.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime::client::dns::TokioDnsResolver;
use greenlang_backup_api::task::{Bucket, MountedSecret};
use secrecy::ExposeSecret as _;

use super::server_clock::ServerClock;
use crate::error::Place;
use crate::{SecretError, read_certificates, read_secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one try of a request that moves few bytes; parts and completions set their own.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

pub(super) async fn build(bucket: &Bucket, attempts: u32, clock: ServerClock) -> Result<Client, SecretError> {
    let http = http_client(bucket.ca.as_ref())?;
    let region = Region::new(bucket.region.clone());
    let builder = match &bucket.credentials {
        Some(secret) => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials(secret)?)),
        // The HTTP client of the bucket is not given to the cloud's token services: the bucket's CA is not theirs.
        None => Builder::from(
            &aws_config::defaults(BehaviorVersion::latest()).region(region.clone()).load().await,
        ),
    };
    let builder = builder
        .http_client(http)
        .interceptor(clock)
        .region(region)
        .force_path_style(bucket.force_path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(attempts).with_max_backoff(MAX_BACKOFF))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        );
    let builder = match &bucket.endpoint {
        Some(endpoint) => builder.endpoint_url(endpoint),
        None => builder,
    };
    Ok(Client::from_conf(deliberate(builder).build()))
}

/// What the SDK would do by itself, and we do not want done.
///
/// Checksums: those that we send are ours, as headers; many servers refuse one that they were not asked about. The SHA-256 of
/// every body is part of its signature all the same, because our bodies are whole in memory.
///
/// The clock: the SDK would take the server's time from its answers and sign with that. A clock that is wrong by a day also
/// makes wrong the times in manifests, by which backups are kept or deleted, so it is said and not made good for.
fn deliberate(builder: Builder) -> Builder {
    builder
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .disable_clock_skew_correction(true)
}

pub(super) fn place(bucket: &Bucket) -> Place {
    Place {
        bucket: bucket.name.clone(),
        server: match &bucket.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("AWS S3 in {}", bucket.region),
        },
        identity: match &bucket.credentials {
            Some(secret) => format!("the keys in Secret {}", secret.secret),
            None => "the cloud identity of the Job's service account".to_owned(),
        },
    }
}

fn credentials(secret: &MountedSecret) -> Result<Credentials, SecretError> {
    let id = read_secret(secret, "AWS_ACCESS_KEY_ID")?;
    let key = read_secret(secret, "AWS_SECRET_ACCESS_KEY")?;
    let token = match read_secret(secret, "AWS_SESSION_TOKEN") {
        Ok(token) => Some(token.expose_secret().to_owned()),
        Err(SecretError::KeyMissing { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Credentials::new(id.expose_secret(), key.expose_secret(), token, None, "mounted Secret"))
}

/// The resolver is named so that its failures keep their type, by which they are told from other connection failures.
fn http_client(ca: Option<&MountedSecret>) -> Result<SharedHttpClient, SecretError> {
    let roots = match ca {
        // Checked first: the HTTP client would panic on PEM text that it cannot read.
        Some(secret) => TrustStore::empty().with_pem_certificate(read_certificates(secret)?.0),
        None => TrustStore::default(),
    };
    // Building a context fails for TLS providers other than rustls only.
    let context = TlsContext::builder().with_trust_store(roots).build().unwrap_or_default();
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_with_resolver(TokioDnsResolver::new()))
}

/// Override for requests that are tried once, each with a deadline of its own: their callers look at what came of it before
/// they try again.
pub(crate) fn one_try(deadline: Duration) -> Builder {
    Builder::new().retry_config(RetryConfig::disabled()).timeout_config(
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(deadline).build(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use aws_sdk_s3::presigning::PresigningConfig;
    use greenlang_backup_test_servers::tasks;

    use super::*;

    /// Where a request for the object `key` of the bucket `backups` would go, signed.
    async fn url(secrets: &Path, change: impl FnOnce(&mut Bucket)) -> String {
        let mut bucket = tasks::bucket("backups", "http://s3.test:1", secrets);
        change(&mut bucket);
        let client = build(&bucket, 1, ServerClock::default()).await.unwrap();
        let minute = PresigningConfig::expires_in(Duration::from_mins(1)).unwrap();
        client.get_object().bucket("backups").key("key").presigned(minute).await.unwrap().uri().to_owned()
    }

    #[tokio::test]
    async fn a_bucket_is_named_in_the_path_or_in_the_host() {
        let secrets = tempfile::tempdir().unwrap();
        for (path_style, own, start) in [
            (true, true, "http://s3.test:1/backups/key?"),
            (false, true, "http://backups.s3.test:1/key?"),
            (true, false, "https://s3.us-east-1.amazonaws.com/backups/key?"),
            (false, false, "https://backups.s3.us-east-1.amazonaws.com/key?"),
        ] {
            let change = |bucket: &mut Bucket| {
                bucket.force_path_style = path_style;
                bucket.endpoint = bucket.endpoint.take().filter(|_| own);
            };
            let url = url(secrets.path(), change).await;
            assert!(url.starts_with(start), "{url}");
        }
    }

    #[tokio::test]
    async fn a_session_token_goes_along_where_there_is_one() {
        let secrets = tempfile::tempdir().unwrap();
        let without = url(secrets.path(), |_| {}).await;
        assert!(!without.contains("X-Amz-Security-Token"), "{without}");
        tasks::mount(secrets.path(), "backup-s3", &[("AWS_SESSION_TOKEN", "temporary")]);
        let with = url(secrets.path(), |_| {}).await;
        assert!(with.contains("X-Amz-Security-Token=temporary"), "{with}");
    }
}
