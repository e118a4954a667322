//! A throw-away CA and certificates of servers in the cluster.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A CA that nobody trusts unless told to. Its key lives in memory only.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, the `ca.crt` of Secrets.
    pub certificate: String,
}

/// A server's certificate with its key, as a TLS Secret holds them.
pub struct Server {
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
}

impl Ca {
    /// A new CA.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "greenlang-backup tests");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("no key for the CA")?;
        let certificate = params.self_signed(&key).context("no certificate for the CA")?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for a Service by all names that Pods know it by.
    pub fn service(&self, namespace: &str, service: &str) -> Result<Server> {
        self.server(&[
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ])
    }

    /// A certificate for a server by names or addresses.
    pub fn server(&self, names: &[String]) -> Result<Server> {
        let mut params = CertificateParams::new(names).context("no name for a certificate")?;
        params.distinguished_name.push(DnType::CommonName, names.first().context("no name")?.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().context("no key for a server")?;
        let certificate = params.signed_by(&key, &self.issuer).context("no certificate for a server")?;
        Ok(Server { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
