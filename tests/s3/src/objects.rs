//! The S3 operations on what the server holds. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::StatusCode;
#[allow(clippy::wildcard_imports, reason = "an input and an output for each operation")]
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::rules::{changed, given, known, now};
use crate::store::{Conditional, Object, Pages, Shared, Upload, UploadedPart};
use crate::sums;

/// Most entries of one page of a listing.
const PAGE: usize = 1000;

pub(crate) struct Objects(pub Arc<Shared>);

#[async_trait::async_trait]
impl S3 for Objects {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let given = given!(input);
        let bytes = read(input.body).await?;
        self.verify(&given, &bytes)?;
        let mut state = self.0.state();
        if input.if_none_match.is_some() {
            match self.0.switches.conditional {
                Conditional::Supported if state.objects.contains_key(&input.key) => {
                    return Err(s3_error!(PreconditionFailed));
                }
                Conditional::NotImplemented => return Err(s3_error!(NotImplemented)),
                Conditional::Supported | Conditional::Ignored => {}
            }
        }
        let etag = sums::etag(&bytes);
        let bytes = changed(&bytes).unwrap_or(bytes);
        let object = Object {
            etag: etag.clone(),
            checksum: None,
            covers_all: true,
            settings: self.settings(input.storage_class, input.server_side_encryption, input.metadata),
            modified: now(),
            bytes,
        };
        let version_id = state.put(input.key, object, &self.0.switches);
        let output = PutObjectOutput { e_tag: Some(ETag::Strong(etag)), version_id, ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let state = self.0.state();
        let object = state.objects.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        if let Some(ETagCondition::ETag(etag)) = &input.if_match
            && etag.value() != object.etag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let length = object.bytes.len();
        let (bytes, content_range) = match input.range {
            None => (object.bytes.clone(), None),
            Some(range) => {
                let range = range.check(length as u64).map_err(|_| s3_error!(InvalidRange))?;
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let range = usize::try_from(range.start).unwrap_or(length)
                    ..usize::try_from(range.end).unwrap_or(length);
                (object.bytes.slice(range), Some(text))
            }
        };
        let status = content_range.is_some().then_some(StatusCode::PARTIAL_CONTENT);
        let output = GetObjectOutput {
            content_length: i64::try_from(bytes.len()).ok(),
            content_range,
            body: Some(StreamingBlob::from(Body::from(bytes))),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.clone()),
            ..Default::default()
        };
        let mut response = S3Response::new(output);
        response.status = status;
        Ok(response)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let state = self.0.state();
        let (object, version) =
            state.get(&input.key, input.version_id.as_deref()).ok_or_else(|| s3_error!(NoSuchKey))?;
        let locked = version.and_then(|version| version.locked_until);
        let shown = object.checksum.as_ref().filter(|_| input.checksum_mode.is_some());
        let of =
            |name: &str| shown.filter(|(algorithm, _)| algorithm == name).map(|(_, value)| value.clone());
        let covers = if object.covers_all { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE };
        Ok(S3Response::new(HeadObjectOutput {
            checksum_crc64nvme: of("CRC64NVME"),
            checksum_crc32: of("CRC32"),
            checksum_sha256: of("SHA256"),
            checksum_type: shown.map(|_| ChecksumType::from_static(covers)),
            content_length: i64::try_from(object.bytes.len()).ok(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            metadata: object.settings.metadata.clone(),
            object_lock_retain_until_date: locked.map(Timestamp::from),
            last_modified: Some(object.modified.clone()),
            storage_class: object.settings.storage_class.clone().map(StorageClass::from),
            server_side_encryption: object.settings.encryption.clone().map(ServerSideEncryption::from),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        if self.0.switches.ignores_deletes {
            return Ok(S3Response::new(DeleteObjectOutput::default()));
        }
        let versions = self.0.switches.versions;
        let output = self.0.state().delete(&input.key, input.version_id.as_deref(), versions)?;
        Ok(S3Response::new(output))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        known(&req.input.bucket)?;
        if !self.0.switches.shows_versions {
            return Err(s3_error!(AccessDenied));
        }
        let enabled = || BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        let status = self.0.switches.versions.then(enabled);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        known(&req.input.bucket)?;
        if !self.0.switches.shows_versions {
            return Err(s3_error!(AccessDenied));
        }
        let state = self.0.state();
        let mut page = state.list_versions(&req.input);
        match self.0.switches.pages {
            Pages::WithoutToken => (page.next_key_marker, page.next_version_id_marker) = (None, None),
            Pages::InCircles if page.is_truncated == Some(false) => {
                let first =
                    ListObjectVersionsInput { key_marker: None, version_id_marker: None, ..req.input };
                let first = state.list_versions(&first);
                page.is_truncated = first.is_truncated;
                page.next_key_marker = first.next_key_marker;
                page.next_version_id_marker = first.next_version_id_marker;
            }
            _ => {}
        }
        Ok(S3Response::new(page))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        known(&input.bucket)?;
        let state = self.0.state();
        let prefix = input.prefix.filter(|_| self.0.switches.filters_objects).unwrap_or_default();
        // The key that a page ended with is its token.
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let matching: Vec<_> =
            state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).collect();
        let page: Vec<_> = matching
            .iter()
            .take(PAGE)
            .map(|(key, object)| s3s::dto::Object {
                key: Some((*key).clone()),
                size: i64::try_from(object.bytes.len()).ok(),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(object.modified.clone()),
                ..Default::default()
            })
            .collect();
        let last = page.last().and_then(|object| object.key.as_deref());
        let next = last.filter(|_| matching.len() > page.len());
        let first = state.objects.keys().filter(|key| key.starts_with(&prefix)).nth(PAGE - 1);
        let (next, truncated) = self.0.switches.pages.next(&after, first.map(String::as_str), next);
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(truncated),
            key_count: i32::try_from(page.len()).ok(),
            next_continuation_token: next,
            contents: Some(page),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let algorithm = input.checksum_algorithm.map(|algorithm| algorithm.as_str().to_owned());
        let known = algorithm.clone().filter(|algorithm| self.0.verifies(algorithm));
        if algorithm.is_some() && known.is_none() && self.0.switches.refuses_others {
            return Err(s3_error!(NotImplemented));
        }
        let mut state = self.0.state();
        state.next_upload += 1;
        let id = format!("upload-{:06}", state.next_upload);
        let upload = Upload {
            key: input.key.clone(),
            algorithm: known,
            covers_all: input.checksum_type.is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT),
            settings: self.settings(input.storage_class, input.server_side_encryption, input.metadata),
            parts: BTreeMap::new(),
            initiated: now(),
        };
        state.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let given = given!(input);
        let bytes = read(input.body).await?;
        self.verify(&given, &bytes)?;
        let mut state = self.0.state();
        let upload = state.uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let etag = sums::etag(&bytes);
        let checksum = upload.algorithm.as_deref().and_then(|algorithm| sums::of(algorithm, &bytes));
        let bytes = changed(&bytes).unwrap_or(bytes);
        upload.parts.insert(input.part_number, UploadedPart { bytes, etag: etag.clone(), checksum });
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let object = self.complete(&input)?;
        let etag = object.etag.clone();
        self.0.state().put(input.key.clone(), object, &self.0.switches);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        match self.0.state().uploads.remove(&req.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let state = self.0.state();
        let prefix = input.prefix.unwrap_or_default();
        let after = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let mut matching: Vec<_> = state
            .uploads
            .iter()
            .filter(|(_, upload)| self.0.switches.lists_uploads.has(&upload.key, &prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.initiated.clone()))
            .filter(|(key, id, _)| (key, id) > (&after.0, &after.1))
            .collect();
        matching.sort_by(|one, next| (&one.0, &one.1).cmp(&(&next.0, &next.1)));
        let truncated = matching.len() > PAGE;
        matching.truncate(PAGE);
        let mut last = matching.last().filter(|_| truncated).cloned();
        if self.0.switches.pages == Pages::WithoutToken {
            last = None;
        }
        let uploads = matching.into_iter().map(|(key, id, initiated)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(initiated),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(truncated),
            next_key_marker: last.as_ref().map(|(key, ..)| key.clone()),
            next_upload_id_marker: last.map(|(_, id, _)| id),
            ..Default::default()
        }))
    }
}

async fn read(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let chunks: Vec<Bytes> = body
        .try_collect()
        .await
        .map_err(|error| S3Error::with_message(S3ErrorCode::IncompleteBody, error.to_string()))?;
    Ok(chunks.concat().into())
}
