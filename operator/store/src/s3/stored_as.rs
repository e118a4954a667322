//! How a policy wants its objects stored: class and encryption by the server. Pure.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use greenlang_backup_api::task::Bucket;
use greenlang_backup_api::v1alpha1::ServerSideEncryptionType;

/// Goes on the start of an upload, not on its parts, and on objects that are put at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredAs {
    pub class: Option<StorageClass>,
    pub encryption: Option<ServerSideEncryption>,
    pub kms_key: Option<String>,
}

impl StoredAs {
    pub fn of(bucket: &Bucket) -> Self {
        let encryption = bucket.server_side_encryption.as_ref();
        Self {
            class: bucket.storage_class.as_deref().map(StorageClass::from),
            encryption: encryption.map(|encryption| match encryption.type_ {
                ServerSideEncryptionType::AwsKms => ServerSideEncryption::AwsKms,
                ServerSideEncryptionType::Aes256 => ServerSideEncryption::Aes256,
            }),
            kms_key: encryption.and_then(|encryption| encryption.kms_key_id.clone()),
        }
    }

    /// A KMS key costs a request to it for each object, unless the bucket has a key of its own made from it.
    pub fn bucket_key(&self) -> Option<bool> {
        (self.encryption == Some(ServerSideEncryption::AwsKms)).then_some(true)
    }

    /// What is not as the policy says: its name, what was wanted, what was found. Which KMS key was used is not compared: a
    /// policy may name it by an alias, and the server answers with its ARN.
    pub fn differs(&self, head: &HeadObjectOutput) -> Option<(&'static str, String, String)> {
        // Servers do not name the standard class.
        let class = head.storage_class().map_or("STANDARD", StorageClass::as_str);
        if let Some(wanted) = self.class.as_ref().filter(|wanted| wanted.as_str() != class) {
            return Some(("storage class", wanted.as_str().to_owned(), class.to_owned()));
        }
        let encryption = head.server_side_encryption().map_or("none", ServerSideEncryption::as_str);
        let wanted = self.encryption.as_ref().filter(|wanted| wanted.as_str() != encryption)?;
        Some(("server-side encryption", wanted.as_str().to_owned(), encryption.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_compared() {
        let head = |class: Option<&str>, encryption: Option<ServerSideEncryption>| {
            HeadObjectOutput::builder()
                .set_storage_class(class.map(StorageClass::from))
                .set_server_side_encryption(encryption)
                .build()
        };
        let nothing = StoredAs::default();
        assert_eq!(nothing.differs(&head(Some("GLACIER_IR"), Some(ServerSideEncryption::Aes256))), None);
        let standard = StoredAs { class: Some(StorageClass::Standard), ..StoredAs::default() };
        assert_eq!(standard.differs(&head(None, None)), None);
        let ia = StoredAs { class: Some(StorageClass::StandardIa), ..StoredAs::default() };
        assert_eq!(ia.differs(&head(None, None)).unwrap().2, "STANDARD");
        let kms = StoredAs { encryption: Some(ServerSideEncryption::AwsKms), ..StoredAs::default() };
        assert_eq!(kms.differs(&head(None, Some(ServerSideEncryption::AwsKms))), None);
        assert_eq!(kms.differs(&head(None, None)).unwrap().2, "none");
    }
}
