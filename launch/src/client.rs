//! What the command line asks a running coordinator.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use fulcrum_common::{
    access::{Introduction, Tls, Token},
    protocol::{
        MESSAGE_LIMIT, StatusReply, StatusRequest, StopRequest, coordinator_client::CoordinatorClient,
    },
};
use tonic::{service::interceptor::InterceptedService, transport::Channel};

/// A coordinator on the loopback answers in milliseconds or is in trouble.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to one coordinator, made when first used and made again when lost.
#[derive(Clone, Debug)]
pub(crate) struct Client(CoordinatorClient<InterceptedService<Channel, Introduction>>);

impl Client {
    /// For the coordinator at `address`, which asks for `token` and, where the run has them, certificates.
    ///
    /// # Errors
    /// If those are none.
    pub(crate) fn new(address: SocketAddr, token: Token, tls: Option<&Tls>) -> Result<Self> {
        let endpoint = Tls::endpoint(tls, address)?.timeout(PATIENCE).connect_timeout(PATIENCE);
        let client = CoordinatorClient::with_interceptor(endpoint.connect_lazy(), Introduction::new(token));
        Ok(Self(client.max_decoding_message_size(MESSAGE_LIMIT)))
    }

    /// Stages and workers as they are now.
    ///
    /// # Errors
    /// If the coordinator does not answer.
    pub(crate) async fn status(&mut self) -> Result<StatusReply> {
        let reply = self.0.status(StatusRequest {}).await.context("the coordinator does not answer")?;
        Ok(reply.into_inner())
    }

    /// Tells the coordinator of a finished run that whoever waited for it has heard: it need not linger.
    ///
    /// # Errors
    /// If the coordinator does not answer.
    pub(crate) async fn dismiss(&mut self) -> Result<()> {
        self.0.stop(StopRequest {}).await.context("the coordinator does not answer")?;
        Ok(())
    }
}
