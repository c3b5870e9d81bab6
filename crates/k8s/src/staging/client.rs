//! A client of a staging server: uploads that go on where they were, by tus 1.0.0.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::text::{clipped, hex, printable};
use anymaster_core::{Backoff, Error, ErrorKind, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::stream;
use http::{Method, StatusCode};
use reqwest::{Body, Certificate, Client, RequestBuilder, Response, redirect};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use url::Url;

use crate::keys;
use crate::submitter_env::SubmitterEnv;

/// How long a connection, and any answer but that to an upload, may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a removal may take: what it follows has been done, and files expire anyway.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be silent about an upload: it writes all of it to the disk.
const SILENCE: Duration = Duration::from_secs(300);
/// How often an upload is tried without any progress.
const ATTEMPTS: u32 = 8;
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How many bytes are read at once.
const PIECE: usize = 256 << 10;
/// The longest token, and the longest answer, in bytes.
const MAX_TEXT: u64 = 4096;

/// A file on the server. Its `Debug` does not show the URL, by which anybody can fetch it.
#[derive(Clone)]
pub(crate) struct StagedFile {
    /// Where drivers fetch it.
    pub(crate) url: String,
    /// The path by which it is removed.
    upload: String,
}

#[cfg(test)]
impl StagedFile {
    /// One that is fetched at this URL.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), upload: "/v1/uploads/1".to_owned() }
    }
}

impl fmt::Debug for StagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedFile").field("upload", &self.upload).finish_non_exhaustive()
    }
}

/// What the server says of an upload that begins.
#[derive(Deserialize)]
struct Begun {
    upload: String,
    path: String,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A client of a staging server.
#[derive(Clone)]
pub(crate) struct StagingClient {
    client: Client,
    base: String,
    token: String,
}

impl fmt::Debug for StagingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagingClient").field("base", &self.base).finish_non_exhaustive()
    }
}

impl StagingClient {
    /// A client of the server at this URL, with the token and the authorities that properties name.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) if a file cannot be read, or is none of its kind.
    pub(crate) fn new(base: &str, conf: &Conf, submitter: &SubmitterEnv) -> Result<Self> {
        let of_token = keys::STAGING_TOKEN_FILE.info.name;
        let Some(file) = conf.read_optional(&keys::STAGING_TOKEN_FILE)? else {
            return Err(Error::invalid(format!("{of_token} is not set: {base} asks for a token"))
                .with_hint("name the file with the token of the staging server"));
        };
        let token = read(of_token, &submitter.path(&file), MAX_TEXT)?;
        let token = String::from_utf8(token).unwrap_or_default().trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(format!("{of_token}: there is no token in {file}")));
        }
        let mut builder = Client::builder()
            .connect_timeout(TIMEOUT)
            .read_timeout(SILENCE)
            // The token is for this server.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("anymaster/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = conf.read_optional(&keys::STAGING_CA_CERT_FILE)? {
            let name = keys::STAGING_CA_CERT_FILE.info.name;
            let pem = read(name, &submitter.path(&file), 1 << 20)?;
            let authorities = Certificate::from_pem_bundle(&pem).ok().filter(|all| !all.is_empty());
            let authorities = authorities.ok_or_else(|| {
                Error::invalid(format!("{name}: there is no certificate in {file}"))
            })?;
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(|error| {
            Error::invalid(format!("there can be no client for {base}")).with_source(error)
        })?;
        Ok(Self { client, base: base.to_owned(), token })
    }

    fn asked(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header("Tus-Resumable", "1.0.0")
    }

    /// The answer, if it is one of success.
    async fn answer(&self, what: &str, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|error| {
            let error = error.without_url();
            Error::unavailable(format!("{what}: {} does not answer", self.base)).with_source(error)
        })?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => {
                let said = text(answer).await;
                let said = match serde_json::from_str::<Refusal>(&said) {
                    Ok(refusal) => refusal.error,
                    Err(_) => said,
                };
                let said = printable(clipped(said.trim(), 300).as_ref()).into_owned();
                Err(refusal(what, &self.base, status, &said))
            }
        }
    }

    /// Uploads a file, of which the driver's has this name. Goes on where it was when the connection or the server
    /// breaks.
    pub(crate) async fn upload(&self, app: &str, file: &Path, name: &str) -> Result<StagedFile> {
        let what = format!("cannot upload {}", file.display());
        let (length, digest) = digest(file).await?;
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let metadata = format!("filename {},sha256 {}", encode(name), encode(&digest));
        let begin = || {
            self.asked(Method::POST, &format!("/v1/applications/{app}/files"))
                .header("Upload-Length", length)
                .header("Upload-Metadata", &metadata)
                .timeout(TIMEOUT)
        };
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut attempts = 0;
        let begun = loop {
            match self.answer(&what, begin()).await {
                Ok(answer) => break answer,
                Err(error) => again(error, &mut attempts, &mut backoff).await?,
            }
        };
        let begun: Begun = serde_json::from_str(&text(begun).await).map_err(|error| {
            Error::protocol(format!("{} is not a staging server", self.base)).with_source(error)
        })?;
        let url = begun.url.unwrap_or_else(|| format!("{}{}", self.base, begun.path));
        if Url::parse(&url).is_err() || url.contains([',', ' ']) || !is_path(&begun.upload) {
            return Err(Error::protocol(format!("{} is not a staging server", self.base)));
        }
        let staged = StagedFile { url, upload: begun.upload };
        let sent = self.send(&what, file, length, &staged.upload).await;
        if sent.is_err()
            && let Err(error) = self.remove(&staged).await
        {
            tracing::info!("an upload is left to its end on the staging server: {error}");
        }
        sent.map(|()| staged)
    }

    /// Sends what the server has not.
    async fn send(&self, what: &str, file: &Path, length: u64, upload: &str) -> Result<()> {
        let (mut offset, mut attempts) = (0, 0);
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        while offset < length {
            let request = self
                .asked(Method::PATCH, upload)
                .header("Content-Type", "application/offset+octet-stream")
                .header("Content-Length", length - offset)
                .header("Upload-Offset", offset)
                .body(part(file, offset, length).await?);
            let error = match self.answer(what, request).await {
                Ok(answer) => match offset_of(&answer) {
                    Some(now) if now > offset => {
                        (offset, attempts) = (now, 0);
                        continue;
                    }
                    _ => Error::unavailable(format!("{what}: {} made no progress", self.base)),
                },
                Err(error) => error,
            };
            again(error, &mut attempts, &mut backoff).await?;
            let head = self.asked(Method::HEAD, upload).timeout(TIMEOUT);
            match self.answer(what, head).await {
                Ok(answer) => {
                    let now = offset_of(&answer).unwrap_or(offset);
                    if now > offset {
                        (attempts, backoff) = (0, Backoff::new(PAUSES.0, PAUSES.1));
                    }
                    offset = now;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Ok(())
    }

    /// Removes a file; gone already is success.
    pub(crate) async fn remove(&self, file: &StagedFile) -> Result<()> {
        self.delete(&file.upload).await
    }

    /// Removes what is at a path; gone already is success.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let request = self.asked(Method::DELETE, path).timeout(REMOVAL_TIMEOUT);
        match self.answer("cannot remove files", request).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Waits for the next attempt; gives up after some, and on what no attempt changes.
async fn again(error: Error, attempts: &mut u32, backoff: &mut Backoff) -> Result<()> {
    *attempts += 1;
    if error.kind() != ErrorKind::Unavailable || *attempts >= ATTEMPTS {
        return Err(error);
    }
    tracing::info!("{error}; trying again");
    backoff.failed(None);
    backoff.pause().await;
    Ok(())
}

fn refusal(what: &str, base: &str, status: StatusCode, said: &str) -> Error {
    let kind = match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        507 => ErrorKind::Quota,
        // Another request writes, or the upload is elsewhere: asked again, that is known.
        408 | 409 | 423 | 429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidSpec,
    };
    let error = Error::new(kind, format!("{what}: {base} says {}: {said}", status.as_u16()));
    match kind {
        ErrorKind::Unauthenticated => error.with_hint(format!(
            "is the token in the file of {} that of this server?",
            keys::STAGING_TOKEN_FILE.info.name
        )),
        ErrorKind::Quota => error
            .with_hint("end applications that are over, or raise the quotas of the staging server"),
        _ => error,
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with("/v1/uploads/")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-'))
}

fn offset_of(answer: &Response) -> Option<u64> {
    answer.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

/// The beginning of an answer.
async fn text(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > MAX_TEXT {
            bytes.truncate(MAX_TEXT as usize);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(property: &str, path: &Path, longest: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(longest).read_to_end(&mut bytes)).map_err(|error| {
        Error::invalid(format!("{property}: cannot read {}", path.display())).with_source(error)
    })?;
    Ok(bytes)
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    Error::invalid(format!("cannot read {}", file.display())).with_source(error)
}

/// The length and the SHA-256 of a file.
async fn digest(path: &Path) -> Result<(u64, String)> {
    let owned = path.to_owned();
    let digested = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(owned)?;
        let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; PIECE]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((length, hex(&hash.finalize()))),
                read => {
                    hash.update(&buffer[..read]);
                    length += read as u64;
                }
            }
        }
    });
    let digested = digested.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    digested.map_err(|error| unreadable(path, error))
}

/// The bytes of a file from one place to another one.
async fn part(path: &Path, from: u64, to: u64) -> Result<Body> {
    let file = async {
        let mut file = tokio::fs::File::open(path).await?;
        file.set_max_buf_size(PIECE);
        file.seek(std::io::SeekFrom::Start(from)).await?;
        Ok(file.take(to - from))
    };
    let file = file.await.map_err(|error| unreadable(path, error))?;
    Ok(Body::wrap_stream(stream::try_unfold(file, |mut file| async {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE && file.read_buf(&mut piece).await? > 0 {}
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, file)))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_urls_are_not_shown() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("token");
        std::fs::write(&file, "hush-hush-hush-hush\n").unwrap();
        let conf = |path: &Path| -> Conf {
            let pair = ("spark.anymaster.staging.tokenFile".to_owned(), path.display().to_string());
            [pair].into_iter().collect()
        };
        let client =
            StagingClient::new("http://h", &conf(&file), &SubmitterEnv::default()).unwrap();
        assert!(!format!("{client:?}").contains("hush"));
        let staged =
            StagedFile { url: "http://h/token/hush/a".into(), upload: "/v1/uploads/1".into() };
        assert!(!format!("{staged:?}").contains("hush"));
        let missing = StagingClient::new(
            "http://h",
            &conf(&place.path().join("none")),
            &SubmitterEnv::default(),
        );
        assert!(missing.unwrap_err().message().contains("tokenFile"));
        std::fs::write(&file, "two words").unwrap();
        assert!(StagingClient::new("http://h", &conf(&file), &SubmitterEnv::default()).is_err());
    }
}
