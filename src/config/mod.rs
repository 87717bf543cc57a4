//! TOML → truth; every mistake at once, with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::reading::Site;
use crate::rules::{Locale, Rule};
use crate::ticket::Standard;
use crate::{field, store, sync, web};

/// A configuration that is right, cut into what each room needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    pub site: Arc<Site>,
    pub timezone: String,
    pub locale: Locale,
    pub store: store::Settings,
    pub web: web::Settings,
    /// Pullers by name; retention waits for the required ones.
    pub consumers: Vec<Consumer>,
    pub sync: Vec<sync::Target>,
    pub channels: Vec<field::Channel>,
    pub rules: Vec<Rule>,
    /// By level, 1 to 3.
    pub levels: BTreeMap<u8, Standard>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    pub name: Arc<str>,
    pub required: bool,
}
