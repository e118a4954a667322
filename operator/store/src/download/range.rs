//! Fetches one range of an object, over as many requests as it takes. Network.

use std::future::Future;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::ReadSettings;
use crate::s3::{Store, classify};
use crate::{ReadError, RequestError};

/// Slowest connection, in bytes per second, on which a range still counts as moving.
const MIN_BYTES_PER_SECOND: u64 = 256 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const ACTION: &str = "get an object";

/// An object to be read, pinned to one version by the first answer.
pub(crate) struct RangeSource {
    store: Store,
    key: String,
    bytes: u64,
    settings: ReadSettings,
    etag: OnceLock<String>,
}

impl RangeSource {
    pub(crate) fn new(store: &Store, key: &str, bytes: u64, settings: ReadSettings) -> Self {
        Self { store: store.clone(), key: key.to_owned(), bytes, settings, etag: OnceLock::new() }
    }

    /// All bytes of a range. The first call must have ended before others begin: it pins the version.
    pub(crate) async fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        if range.is_empty() {
            return Err(self.damaged("the manifest says that it is empty, which no sealed object is"));
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length);
        let mut pauses = self.pauses();
        loop {
            let before = bytes.len();
            let error = match self.try_once(&range, &mut bytes).await {
                Ok(()) if bytes.len() == length => return Ok(bytes),
                Ok(()) => self.cut("the answer ended too early"),
                Err(error) => error,
            };
            if !may_pass(&error) {
                return Err(error);
            }
            if bytes.len() - before >= ReadSettings::PROGRESS {
                pauses = self.pauses();
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            warn!(key = self.key, at = range.start + bytes.len() as u64, %error, "reading again from here");
            sleep(pause).await;
        }
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(FIRST_PAUSE.min(self.settings.max_pause))
            .with_max_delay(self.settings.max_pause)
            .with_max_times(self.settings.retries)
            .build()
    }

    /// One request for what is missing of a range; what arrives before it fails is kept.
    async fn try_once(&self, range: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let start = range.start + bytes.len() as u64;
        let moving = Duration::from_secs((range.end - start).div_ceil(MIN_BYTES_PER_SECOND));
        let deadline = self.settings.stall + moving;
        timeout(deadline, self.request(start, range.end, bytes))
            .await
            .unwrap_or_else(|_| Err(self.cut(&format!("it was not there after {} s", deadline.as_secs()))))
    }

    async fn request(&self, start: u64, end: u64, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let request = self
            .store
            .client
            .get_object()
            .bucket(self.store.bucket())
            .key(&self.key)
            .range(format!("bytes={start}-{}", end - 1))
            .set_if_match(self.etag.get().cloned())
            .customize()
            // Tries are counted here, and the SHA-256 of the manifest is the judge of what arrives.
            .config_override(
                Builder::new()
                    .retry_config(RetryConfig::disabled())
                    .response_checksum_validation(ResponseChecksumValidation::WhenRequired),
            );
        let output = self.moving(Box::pin(request.send())).await?.map_err(|error| self.refused(&error))?;
        self.check(&output, start)?;
        let mut left = end - start;
        let mut body = output.body;
        while let Some(chunk) = self.moving(body.next()).await? {
            let chunk = chunk.map_err(|error| self.cut(&error.to_string()))?;
            left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| self.odd("more bytes than were asked for"))?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    }

    async fn moving<T>(&self, next: impl Future<Output = T>) -> Result<T, ReadError> {
        let stall = self.settings.stall;
        timeout(stall, next)
            .await
            .map_err(|_| self.cut(&format!("not a byte came for {:.1} s", stall.as_secs_f64())))
    }

    /// Whether an answer is about the version and the bytes that were asked for.
    fn check(&self, output: &GetObjectOutput, start: u64) -> Result<(), ReadError> {
        let etag = output.e_tag().ok_or_else(|| self.odd("the answer has no ETag"))?;
        if self.etag.get_or_init(|| etag.to_owned()) != etag {
            return Err(self.replaced());
        }
        let (first, total) = output
            .content_range()
            .and_then(parse_content_range)
            .ok_or_else(|| self.odd("the answer is not for a range of bytes"))?;
        if total != self.bytes {
            let manifest = self.bytes;
            return Err(self.damaged(&format!("it has {total} bytes, the manifest says {manifest}")));
        }
        if first == start { Ok(()) } else { Err(self.odd("other bytes than were asked for")) }
    }

    fn refused(&self, error: &SdkError<GetObjectError, HttpResponse>) -> ReadError {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (error.code(), status) {
            (Some("NoSuchKey"), _) => {
                ReadError::ObjectMissing { place: self.store.place.clone(), key: self.key.clone() }
            }
            (_, Some(412)) => self.replaced(),
            // Not even its first byte is there.
            (_, Some(416)) => self.damaged("it is shorter than the manifest says"),
            _ => classify(&self.store.place, ACTION, error).into(),
        }
    }

    fn replaced(&self) -> ReadError {
        ReadError::ObjectReplaced { place: self.store.place.clone(), key: self.key.clone() }
    }

    fn damaged(&self, problem: &str) -> ReadError {
        ReadError::ObjectDamaged { key: self.key.clone(), problem: problem.to_owned() }
    }

    fn cut(&self, cause: &str) -> ReadError {
        RequestError::ConnectionFailed { place: self.store.place.clone(), cause: cause.to_owned() }.into()
    }

    /// An answer that no S3 server should give.
    fn odd(&self, code: &str) -> ReadError {
        RequestError::Refused {
            place: self.store.place.clone(),
            action: ACTION,
            status: 200,
            code: code.to_owned(),
            hint: "",
        }
        .into()
    }
}

/// Whether the same request may go well after a pause.
fn may_pass(error: &ReadError) -> bool {
    error.is_retryable() && !matches!(error, ReadError::ObjectReplaced { .. })
}

/// First byte and length of the whole object, of `bytes 0-99/1000`.
fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        for (text, expected) in [
            ("bytes 0-99/1000", Some((0, 1000))),
            ("bytes 8388608-8388608/8388609", Some((8_388_608, 8_388_609))),
            ("bytes 0-99/*", None),
            ("bytes */1000", None),
            ("0-99/1000", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(text), expected, "{text}");
        }
    }
}
