//! Everybody who may call, by `client_id`.

use crate::claims::ClientId;
use crate::config::{Authentication, Client, Config, ResourceServer};
use std::collections::HashMap;
use std::sync::Arc;

/// What a caller is to us.
#[derive(Debug, Clone)]
pub enum Party {
    /// Asks for tokens and revokes them.
    Client(Arc<Client>),
    /// Asks about tokens.
    ResourceServer(Arc<ResourceServer>),
}

impl Party {
    pub(super) fn client_id(&self) -> &ClientId {
        match self {
            Self::Client(client) => &client.client_id,
            Self::ResourceServer(server) => &server.client_id,
        }
    }

    pub(super) fn authentication(&self) -> &Authentication {
        match self {
            Self::Client(client) => &client.authentication,
            Self::ResourceServer(server) => &server.authentication,
        }
    }
}

/// All clients and resource servers of one configuration, in one map: a `client_id` stands in one list only.
#[derive(Debug)]
pub struct Directory {
    parties: HashMap<ClientId, Party>,
}

impl Directory {
    /// Of a configuration, which has made sure that no `client_id` is there twice.
    pub fn new(config: &Config) -> Self {
        Self::of(&config.resource_servers, &config.clients)
    }

    pub(super) fn of(servers: &[Arc<ResourceServer>], clients: &[Arc<Client>]) -> Self {
        let servers = servers.iter().cloned().map(Party::ResourceServer);
        let clients = clients.iter().cloned().map(Party::Client);
        Self { parties: servers.chain(clients).map(|party| (party.client_id().clone(), party)).collect() }
    }

    pub(super) fn party(&self, client_id: &str) -> Option<&Party> {
        self.parties.get(client_id)
    }
}
