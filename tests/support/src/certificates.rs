//! Certificates for this machine, made by openssl.

use std::path::PathBuf;
use std::process::Command;

use crate::home::Home;

/// An authority, and a certificate of it.
pub struct Certificates {
    pub authority: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn new(home: &Home) -> Self {
        Self::named(home, "ours")
    }

    /// In files that begin with this name.
    pub fn named(home: &Home, name: &str) -> Self {
        let script = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
               -subj /CN={name} -keyout {name}-ca.key -out {name}-ca.pem 2>/dev/null
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=daemon \
               -keyout {name}.key -out {name}.csr 2>/dev/null
             printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > {name}.ext
             openssl x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial \
               -days 2 -extfile {name}.ext -out {name}.pem 2>/dev/null"
        );
        let made = Command::new("sh").args(["-ec", &script]).current_dir(home.path()).status();
        assert!(made.unwrap().success(), "openssl makes certificates");
        let file = |end: &str| home.path().join(format!("{name}{end}"));
        Self { authority: file("-ca.pem"), chain: file(".pem"), key: file(".key") }
    }

    /// By which a daemon has this certificate, and believes its authority.
    pub fn properties(&self) -> [String; 4] {
        [
            "spark.ssl.enabled=true".to_owned(),
            format!("spark.ssl.certChain={}", self.chain.display()),
            format!("spark.ssl.privateKey={}", self.key.display()),
            format!("spark.anymaster.ssl.authorities={}", self.authority.display()),
        ]
    }
}
