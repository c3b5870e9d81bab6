//! The ResourceManager, as an application master speaks to it (`ApplicationMasterProtocol`).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anymaster_core::{Backoff, Error, Result};
use anymaster_hadoop::rpc::RpcClient;
use anymaster_hadoop::{Configuration, Token};

use super::messages::{
    AllocateRequest, AllocateResponse, FinishRequest, FinishResponse, RegisterRequest,
    RegisterResponse,
};
use crate::proto::{FinalStatus, Resource};
use crate::resource_manager::scheduler_addresses;

const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB";
/// Between two attempts to end the registration.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A client of the ResourceManager, with the token of one attempt of an application.
#[derive(Debug)]
pub(super) struct Scheduler {
    rpc: RpcClient,
    /// Where others reach us.
    host: String,
    port: u16,
    maximum: Mutex<Resource>,
}

impl Scheduler {
    pub(super) fn new(
        configuration: &Configuration,
        token: Token,
        host: &str,
        port: u16,
    ) -> Result<Self> {
        // Who calls tries again itself: there is much to do until then.
        let servers = scheduler_addresses(configuration)?;
        let rpc = RpcClient::with_token(PROTOCOL, servers, token).rounds(1);
        Ok(Self { rpc, host: host.to_owned(), port, maximum: Mutex::default() })
    }

    /// Registers, at first and whenever the ResourceManager has forgotten it.
    pub(super) async fn register(&self) -> Result<()> {
        let request = RegisterRequest {
            host: Some(self.host.clone()),
            port: Some(self.port.into()),
            tracking_url: Some(String::new()),
        };
        let response: Result<RegisterResponse> =
            self.rpc.call("registerApplicationMaster", &request).await;
        match response {
            Ok(response) => {
                let mut maximum = self.maximum.lock().unwrap_or_else(PoisonError::into_inner);
                *maximum = response.maximum.unwrap_or_default();
                Ok(())
            }
            // The answer to an earlier call was lost.
            Err(error) if error.message().contains("already registered") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The most that a container may have.
    pub(super) fn maximum(&self) -> Resource {
        self.maximum.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for containers, and hears of those that were allocated and that ended. The same request may be sent
    /// twice: its response id tells.
    pub(super) async fn allocate(&self, request: &AllocateRequest) -> Result<AllocateResponse> {
        let response: AllocateResponse = self.rpc.call("allocate", request).await?;
        if let Some(token) = response.am_rm_token.clone() {
            self.rpc.set_token(token.into());
        }
        Ok(response)
    }

    /// Says how the application ended. After that there are no containers of it.
    pub(super) async fn finish(&self, status: FinalStatus, diagnostics: String) -> Result<()> {
        let request = FinishRequest {
            diagnostics: Some(diagnostics),
            tracking_url: Some(String::new()),
            status: Some(status as i32),
        };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let response: Result<FinishResponse> =
                self.rpc.call("finishApplicationMaster", &request).await;
            match response {
                Ok(response) if response.is_unregistered.unwrap_or_default() => return Ok(()),
                Ok(_) => {}
                Err(error) if has_forgotten(&error) => self.register().await?,
                Err(error) if is_over(&error) => return Ok(()),
                Err(error) if error.kind().is_retryable() => {
                    tracing::info!(%error, "the end of the application is told again");
                }
                Err(error) => return Err(error),
            }
            backoff.failed(None);
            backoff.pause().await;
        }
    }
}

/// Whether the ResourceManager was started again and knows nothing of our registration.
pub(super) fn has_forgotten(error: &Error) -> bool {
    error.message().ends_with("(ApplicationMasterNotRegisteredException)")
}

/// Whether this attempt is over: it was killed, or another one runs.
pub(super) fn is_over(error: &Error) -> bool {
    ["(ApplicationAttemptNotFoundException)", "(ApplicationNotFoundException)"]
        .iter()
        .any(|class| error.message().ends_with(class))
}

/// Whether what was asked for is at fault.
pub(super) fn is_refused(error: &Error) -> bool {
    ["(InvalidResourceRequestException)", "(InvalidLabelResourceRequestException)"]
        .iter()
        .any(|class| error.message().ends_with(class))
}
