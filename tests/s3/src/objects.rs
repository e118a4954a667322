//! The S3 operations on what the server holds, with AWS's rules for checksums, parts and conditions. No I/O.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::StatusCode;
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::BUCKET;
use crate::store::{Conditional, Object, Settings, Shared, Upload, UploadedPart};
use crate::sums;

tokio::task_local! {
    /// Set while a request is done whose bytes are to change on their way to the disk.
    pub(crate) static CHANGED: ();
}

/// Smallest part but the last.
const MIN_PART: usize = 5 << 20;
const PAGE: usize = 1000;

pub(crate) struct Objects(pub Arc<Shared>);

/// The checksums that a request carries.
struct Given([(&'static str, Option<String>); 3]);

macro_rules! given {
    ($input:expr) => {
        Given([
            ("CRC64NVME", $input.checksum_crc64nvme.clone()),
            ("CRC32", $input.checksum_crc32.clone()),
            ("SHA256", $input.checksum_sha256.clone()),
        ])
    };
}

impl Given {
    fn get(&self, algorithm: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == algorithm).and_then(|(_, value)| value.as_deref())
    }
}

impl Objects {
    fn bucket(&self, bucket: &str) -> S3Result {
        if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// Each checksum given must be that of the bytes.
    fn verify(&self, given: &Given, bytes: &[u8]) -> S3Result {
        for (algorithm, value) in &given.0 {
            if value.is_some() && self.0.verifies(algorithm) && *value != sums::of(algorithm, bytes) {
                return Err(s3_error!(BadDigest, "the {algorithm} does not match"));
            }
        }
        Ok(())
    }

    fn settings(&self, class: Option<StorageClass>, encryption: Option<ServerSideEncryption>) -> Settings {
        Settings {
            storage_class: class
                .filter(|class| self.0.switches.keeps_storage_class && class.as_str() != "STANDARD")
                .map(|class| class.as_str().to_owned()),
            encryption: encryption.map(|encryption| encryption.as_str().to_owned()),
        }
    }

    fn complete(&self, input: &CompleteMultipartUploadInput) -> S3Result<Object> {
        let mut state = self.0.state();
        let upload = state.uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.as_ref().and_then(|parts| parts.parts.as_deref()).unwrap_or_default();
        let parts = self.parts(upload, named)?;
        let bytes = parts.iter().map(|part| &*part.bytes).collect::<Vec<_>>().concat();
        if input.mpu_object_size.is_some_and(|size| usize::try_from(size) != Ok(bytes.len())) {
            return Err(s3_error!(InvalidRequest, "the size does not match"));
        }
        let etag = sums::etag_of_parts(parts.iter().map(|part| &*part.bytes));
        let mut checksum = match &upload.algorithm {
            Some(algorithm) if upload.full_object => sums::of(algorithm, &bytes),
            Some(_) => sums::composite(parts.iter().map(|part| part.checksum.as_deref().unwrap_or_default())),
            None => None,
        };
        if let Some(algorithm) = &upload.algorithm {
            let given = given!(input);
            let given = given.get(algorithm);
            if upload.full_object
                && self.0.switches.verifies_whole
                && given.is_some()
                && given != checksum.as_deref()
            {
                return Err(s3_error!(BadDigest, "the checksum of the object does not match"));
            }
        }
        let mut bytes = Bytes::from(bytes);
        if let Some(changed) = changed(&bytes) {
            bytes = changed;
            checksum = upload.algorithm.as_deref().and_then(|algorithm| sums::of(algorithm, &bytes));
        }
        let object = Object {
            etag,
            checksum: upload.algorithm.clone().zip(checksum),
            full_object: upload.full_object,
            settings: upload.settings.clone(),
            modified: now(),
            bytes,
        };
        state.uploads.remove(&input.upload_id);
        Ok(object)
    }

    /// The parts that a completion names, as AWS checks them.
    fn parts<'a>(&self, upload: &'a Upload, named: &[CompletedPart]) -> S3Result<Vec<&'a UploadedPart>> {
        if named.is_empty() {
            return Err(s3_error!(MalformedXML, "no parts"));
        }
        if !named.is_sorted_by(|one, next| one.part_number < next.part_number) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let mut parts = Vec::new();
        for (index, name) in named.iter().enumerate() {
            let part = upload.parts.get(&name.part_number.unwrap_or_default()).ok_or_else(invalid_part)?;
            if name.e_tag.as_ref().map(ETag::value) != Some(&part.etag) {
                return Err(invalid_part());
            }
            if index + 1 < named.len() && part.bytes.len() < MIN_PART {
                return Err(s3_error!(EntityTooSmall));
            }
            if let Some(algorithm) = &upload.algorithm {
                let given = given!(name);
                let given = given.get(algorithm);
                // One that is part of the checksum of the object must be named; any must be right.
                if (given.is_some() || !upload.full_object) && given != part.checksum.as_deref() {
                    return Err(invalid_part());
                }
            }
            parts.push(part);
        }
        Ok(parts)
    }
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        self.bucket(&input.bucket)?;
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
            full_object: true,
            settings: self.settings(input.storage_class, input.server_side_encryption),
            modified: now(),
            bytes,
        };
        state.objects.insert(input.key, object);
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        self.bucket(&input.bucket)?;
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
        self.bucket(&input.bucket)?;
        let state = self.0.state();
        let object = state.objects.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let shown = object.checksum.as_ref().filter(|_| input.checksum_mode.is_some());
        let of = |name: &str| shown.filter(|(algorithm, _)| algorithm == name).map(|(_, value)| value.clone());
        let covers = if object.full_object { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE };
        Ok(S3Response::new(HeadObjectOutput {
            checksum_crc64nvme: of("CRC64NVME"),
            checksum_crc32: of("CRC32"),
            checksum_sha256: of("SHA256"),
            checksum_type: shown.map(|_| ChecksumType::from_static(covers)),
            content_length: i64::try_from(object.bytes.len()).ok(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.clone()),
            storage_class: object.settings.storage_class.clone().map(StorageClass::from),
            server_side_encryption: object.settings.encryption.clone().map(ServerSideEncryption::from),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.bucket(&req.input.bucket)?;
        self.0.state().objects.remove(&req.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        self.bucket(&input.bucket)?;
        let state = self.0.state();
        let prefix = input.prefix.unwrap_or_default();
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
        let truncated = matching.len() > page.len();
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(truncated),
            key_count: i32::try_from(page.len()).ok(),
            next_continuation_token: page.last().filter(|_| truncated).and_then(|object| object.key.clone()),
            contents: Some(page),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        self.bucket(&input.bucket)?;
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
            full_object: input.checksum_type.is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT),
            settings: self.settings(input.storage_class, input.server_side_encryption),
            parts: Default::default(),
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
        self.bucket(&input.bucket)?;
        let object = self.complete(&input)?;
        let etag = object.etag.clone();
        self.0.state().objects.insert(input.key.clone(), object);
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
        self.bucket(&input.bucket)?;
        let state = self.0.state();
        let prefix = input.prefix.unwrap_or_default();
        let after = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let mut matching: Vec<_> = state
            .uploads
            .iter()
            .filter(|(_, upload)| self.0.switches.lists_uploads && upload.key.starts_with(&prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.initiated.clone()))
            .filter(|(key, id, _)| (key, id) > (&after.0, &after.1))
            .collect();
        matching.sort_by(|one, next| (&one.0, &one.1).cmp(&(&next.0, &next.1)));
        let truncated = matching.len() > PAGE;
        matching.truncate(PAGE);
        let last = matching.last().filter(|_| truncated).cloned();
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

/// The bytes with the one in their middle changed, if the test wants it so.
fn changed(bytes: &Bytes) -> Option<Bytes> {
    CHANGED.try_with(|()| ()).ok()?;
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle)? ^= 1;
    Some(bytes.into())
}

fn invalid_part() -> S3Error {
    s3_error!(InvalidPart)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
