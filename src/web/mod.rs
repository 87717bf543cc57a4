//! The pull API, health and metrics: from View only, and people's actions as nouns to intake.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::secret::Secret;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// None: the API is open, and then it listens on loopback only.
    pub tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub name: Arc<str>,
    pub role: Role,
    pub token: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pull, acknowledge, ticket actions.
    Central,
    /// All but tokens.
    Technician,
    /// Read.
    Viewer,
}

pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
