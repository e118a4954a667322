//! An S3 server `s3` with TLS, one bucket, and a user that may do in it what backups need and no more.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Parts, START, apply, hand, secret};
use crate::cluster::Cluster;
use crate::random;
use crate::tls::Ca;
use crate::wait;

/// Name of the bucket.
pub const BUCKET: &str = "greenlang-backups";
/// Region that requests are signed for.
pub const REGION: &str = "us-east-1";
/// What the backup user may do: the list that the operator's documentation asks for.
const ACTIONS: [&str; 7] = [
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];

/// Keys of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Access key of the server's owner.
    pub root_access: String,
    /// Secret key of the server's owner.
    pub root_secret: String,
    /// Access key of the backup user.
    pub access: String,
    /// Secret key of the backup user.
    pub secret: String,
    /// Access key of a user without any right.
    pub stranger_access: String,
    /// Secret key of that user.
    pub stranger_secret: String,
}

impl Access {
    /// New keys.
    pub fn new() -> Result<Self> {
        Ok(Self {
            root_access: format!("root{}", random::word(8)?),
            root_secret: random::word(32)?,
            access: format!("backup{}", random::word(8)?),
            secret: random::word(32)?,
            stranger_access: format!("stranger{}", random::word(8)?),
            stranger_secret: random::word(32)?,
        })
    }
}

/// URL of the server of a namespace, as Pods of every namespace reach it.
pub fn endpoint(namespace: &str) -> String {
    format!("https://s3.{namespace}.svc:9000")
}

/// Makes the Secrets: `s3-ca` and `backup-s3` for policies, `s3-stranger` for tests, `s3-tls` and `s3-root` for the server.
pub async fn secrets(cluster: &Cluster, namespace: &str, access: &Access) -> Result<()> {
    let ca = Ca::new()?;
    let server = ca.service(namespace, "s3")?;
    secret(cluster, namespace, "s3-tls", [("tls.crt", &*server.certificate), ("tls.key", &server.key)])
        .await?;
    secret(cluster, namespace, "s3-ca", [("ca.crt", &*ca.certificate)]).await?;
    secret(
        cluster,
        namespace,
        "s3-root",
        [("access", &*access.root_access), ("secret", &access.root_secret)],
    )
    .await?;
    for (name, key, value) in [
        ("backup-s3", &access.access, &access.secret),
        ("s3-stranger", &access.stranger_access, &access.stranger_secret),
    ] {
        let keys = [("AWS_ACCESS_KEY_ID", &**key), ("AWS_SECRET_ACCESS_KEY", value)];
        secret(cluster, namespace, name, keys).await?;
    }
    Ok(())
}

/// Starts the server.
pub async fn start(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(cluster, namespace, include_str!("../../data/parts/s3.yaml")).await?;
    wait::rollout(cluster, namespace, "statefulset/s3", START).await
}

/// Makes users and bucket, where they are not there yet.
pub(super) async fn prepare(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let Access { root_access, root_secret, access, secret, stranger_access, stranger_secret } = &parts.s3;
    // The program asks the server over TLS by an address that no certificate names.
    let users = format!(
        "export ADMIN_ACCESS_KEY_ID={root_access} ADMIN_SECRET_ACCESS_KEY={root_secret} \
           ADMIN_ENDPOINT_URL=https://127.0.0.1:9000 ADMIN_ALLOW_INSECURE=true\n\
         known=$(versitygw admin list-users)\n\
         grep -q {access} <<<\"$known\" || versitygw admin create-user --access {access} --secret {secret} --role user\n\
         grep -q {stranger_access} <<<\"$known\" || \
           versitygw admin create-user --access {stranger_access} --secret {stranger_secret} --role user\n"
    );
    cluster.script_ok(&parts.namespace, "s3-0", &users).await?;
    let resources = [format!("arn:aws:s3:::{BUCKET}"), format!("arn:aws:s3:::{BUCKET}/*")];
    let statement =
        json!({"Effect": "Allow", "Principal": [access], "Action": ACTIONS, "Resource": resources});
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
    let bucket = format!(
        "aws s3api head-bucket --bucket {BUCKET} >/dev/null 2>&1 || aws s3api create-bucket --bucket {BUCKET} >/dev/null\n\
         aws s3api put-bucket-policy --bucket {BUCKET} --policy '{policy}'\n"
    );
    hand::aws(cluster, parts, root_access, root_secret, &bucket).await.map(drop)
}
