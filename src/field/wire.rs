//! What bytes go over: a serial port or a TCP connection, opened anew whenever it breaks.

use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// `host:port`
    Tcp {
        address: Arc<str>,
    },
    Serial(Port),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub path: Arc<str>,
    pub baud: u32,
    pub parity: Parity,
    /// 1 or 2
    pub stop_bits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}
