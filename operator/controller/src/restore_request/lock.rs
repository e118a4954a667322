//! The Lease by which one request at a time works on a database, in whatever namespace the requests are. I/O: the Lease; a holder that
//! is gone or has ended holds nothing.

use greenlang_backup_api::labels;
use greenlang_backup_api::restore::RequestIdentity;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest};
use greenlang_backup_plan::restore_request::{Lock, ValidatedRestore, lock_name};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt as _};

use crate::context::Context;
use crate::errors::Error;
use crate::writes::ours;
use crate::{crash, time};

/// The Lease of a database, as it was when it was looked at.
pub struct Held {
    /// Its name; empty where none was looked for.
    name: String,
    lease: Option<Lease>,
    /// Who holds it.
    pub lock: Lock,
}

/// Looks who works on the database of a request.
pub async fn look(request: &ValidatedRestore, context: &Context) -> Result<Held, Error> {
    let name = lock_name(&request.place.server, &request.database);
    let lease = leases(context).get_opt(&name).await?;
    let holder =
        lease.as_ref().and_then(|lease| Holder::read(lease.spec.as_ref()?.holder_identity.as_ref()?));
    let lock = match holder {
        Some(holder) if holder.uid == request.identity.uid => Lock::Ours,
        Some(holder) if holder.works(context).await? => {
            Lock::Other(format!("{}/{}", holder.namespace, holder.name))
        }
        None | Some(_) => Lock::Free,
    };
    Ok(Held { name, lease, lock })
}

/// Takes the Lease. That another request was faster is a conflict.
pub async fn acquire(request: &RequestIdentity, held: &Held, context: &Context) -> Result<(), Error> {
    crash::before_write();
    let metadata = match &held.lease {
        Some(lease) => lease.metadata.clone(),
        None => ObjectMeta {
            name: Some(held.name.clone()),
            labels: Some([("app.kubernetes.io/managed-by".into(), labels::MANAGED_BY.into())].into()),
            ..ObjectMeta::default()
        },
    };
    let spec = LeaseSpec {
        holder_identity: Some(Holder::of(request).write()),
        acquire_time: Some(MicroTime(time::now())),
        ..LeaseSpec::default()
    };
    let lease = Lease { metadata, spec: Some(spec) };
    match &held.lease {
        // With its resourceVersion.
        Some(_) => leases(context).replace(&held.name, &ours(), &lease).await?,
        None => leases(context).create(&ours(), &lease).await?,
    };
    tracing::info!(lease = held.name, "took the database's Lease");
    Ok(())
}

/// Gives the Lease back, if it is still as it was seen.
pub async fn release(held: &Held, context: &Context) -> Result<(), Error> {
    let Some(lease) = &held.lease else { return Ok(()) };
    crash::before_write();
    let this_one =
        Preconditions { uid: lease.uid(), resource_version: lease.metadata.resource_version.clone() };
    match leases(context).delete(&held.name, &DeleteParams::default().preconditions(this_one)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn leases(context: &Context) -> Api<Lease> {
    Api::namespaced(context.client.clone(), &context.lease_namespace)
}

/// A request as a Lease names it. No name of Kubernetes has a slash.
struct Holder {
    namespace: String,
    name: String,
    uid: String,
}

impl Holder {
    fn of(request: &RequestIdentity) -> Self {
        let RequestIdentity { namespace, name, uid } = request.clone();
        Self { namespace, name, uid }
    }

    fn write(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.name, self.uid)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let holder = Self { namespace: parts.next()?, name: parts.next()?, uid: parts.next()? };
        parts.next().is_none().then_some(holder)
    }

    /// Whether it is there and has not ended.
    async fn works(&self, context: &Context) -> Result<bool, Error> {
        let requests: Api<RestoreRequest> = Api::namespaced(context.client.clone(), &self.namespace);
        let found =
            requests.get_opt(&self.name).await?.filter(|found| found.uid().as_ref() == Some(&self.uid));
        let phase = found.as_ref().map(|found| found.status.as_ref().and_then(|status| status.phase));
        Ok(phase.is_some_and(|phase| !phase.is_some_and(RestorePhase::is_end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_it_was_written_and_anything_else_is_none() {
        let request =
            RequestIdentity { namespace: "greenlang".into(), name: "back".into(), uid: "1-2-3".into() };
        let written = Holder::of(&request).write();
        assert_eq!(written, "greenlang/back/1-2-3");
        let read = Holder::read(&written).unwrap();
        assert_eq!((read.namespace, read.name, read.uid), (request.namespace, request.name, request.uid));
        for other in ["", "a", "a/b", "a/b/c/d"] {
            assert!(Holder::read(other).is_none(), "{other}");
        }
    }
}
