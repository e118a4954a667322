//! Certificates of the test servers. Starts `openssl`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::process::{NODE_ADDRESS, new_directory, run, spawn};

/// Those of all servers of this process.
pub static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::make);

/// A CA, and a certificate that it signed for `localhost`, and for what Pods of the local node call this machine, only.
pub struct Certificates {
    /// Holds `ca.crt`, `server.crt`, `server.key`, and `other.crt` of a CA that signed nothing.
    pub directory: PathBuf,
}

impl Certificates {
    fn make() -> Self {
        let directory = new_directory("certificates");
        let script = format!(
            "
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test CA' -keyout ca.key -out ca.crt
            openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
            printf 'subjectAltName=DNS:localhost,IP:{NODE_ADDRESS}' > names
            openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=other CA' -keyout other.key -out other.crt
            chmod 644 server.key"
        );
        run(Command::new("sh").args(["-ec", &script]).current_dir(&directory).stderr(Stdio::null()));
        // The directory goes with the test process.
        spawn(&directory, "sleep infinity", &[]);
        Self { directory }
    }
}
