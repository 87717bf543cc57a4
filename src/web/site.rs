//! Whose gateway this is and how it is, what is installed here and what it says now.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Map, Value as JsonValue};

use super::Desk;
use super::gate::Caller;
use crate::live::{DeviceNow, PointNow};
use crate::maintenance::Maintenance;
use crate::reading::{DeviceId, PointId, Value};
use crate::time;

#[derive(Debug, Serialize)]
pub struct Site {
    gateway: Arc<str>,
    name: Arc<str>,
    timezone: Arc<str>,
    locale: &'static str,
    /// Whose token asks, so that the page offers nothing that would be refused.
    role: &'static str,
    by: Option<Arc<str>>,
    version: &'static str,
    epoch: Arc<str>,
    head: String,
    ready: &'static str,
    troubles: Vec<String>,
}

/// `GET /api/v1/site`
pub async fn site(State(desk): State<Arc<Desk>>, Extension(caller): Extension<Caller>) -> Json<Site> {
    Json(site_now(&desk, &caller))
}

pub fn site_now(desk: &Desk, caller: &Caller) -> Site {
    let rooms = &desk.rooms;
    let ready = rooms.ready.borrow().clone();
    Site {
        gateway: rooms.site.gateway.clone(),
        name: rooms.site.name.clone(),
        timezone: rooms.plan.timezone.clone(),
        locale: rooms.plan.locale,
        role: caller.role.word(),
        by: caller.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        epoch: rooms.view.epoch().clone(),
        head: desk.cursor(*rooms.head.borrow()),
        ready: ready.word(),
        troubles: ready.troubles,
    }
}

#[derive(Debug, Serialize)]
pub struct Devices {
    gateway: Arc<str>,
    name: Arc<str>,
    /// Whose token asks, so that the page offers nothing that would be refused.
    role: &'static str,
    devices: Vec<DeviceRow>,
}

#[derive(Debug, Serialize)]
pub struct DeviceRow {
    id: Arc<str>,
    profile: Option<Arc<str>>,
    place: Arc<str>,
    channel: Arc<str>,
    state: &'static str,
    since: Option<String>,
    error: Option<String>,
    /// What may be ordered of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<CommandRow>,
    /// Of those it stands under, the one that ends last; `state` is how the device is meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<Map<String, JsonValue>>,
}

#[derive(Debug, Serialize)]
struct CommandRow {
    action: Arc<str>,
    targets: Vec<Arc<str>>,
    /// Whether it is done for a reason only.
    reason: bool,
}

/// `GET /api/v1/devices`
pub async fn devices(State(desk): State<Arc<Desk>>, Extension(caller): Extension<Caller>) -> Json<Devices> {
    let site = &desk.rooms.site;
    let ids = (0..site.devices.len() as u32).map(DeviceId);
    let (now, maintenance): (Vec<DeviceNow>, Vec<Maintenance>) = {
        let live = desk.rooms.live.lock();
        (ids.map(|id| live.device(id).clone()).collect(), live.maintenance().to_vec())
    };
    let rows = site.devices.iter().zip(now);
    Json(Devices {
        gateway: site.gateway.clone(),
        name: site.name.clone(),
        role: caller.role.word(),
        devices: rows
            .enumerate()
            .map(|(n, (_, now))| device_row(&desk, DeviceId(n as u32), now, &maintenance))
            .collect(),
    })
}

/// Rows of those that changed after that change, or of all.
pub fn devices_after(desk: &Desk, change: Option<u64>) -> Vec<DeviceRow> {
    let site = &desk.rooms.site;
    let (now, maintenance): (Vec<(DeviceId, DeviceNow)>, Vec<Maintenance>) = {
        let live = desk.rooms.live.lock();
        let ids = (0..site.devices.len() as u32).map(DeviceId);
        let changed = ids.filter(|id| change.is_none_or(|change| live.device_changed(*id) > change));
        (changed.map(|id| (id, live.device(id).clone())).collect(), live.maintenance().to_vec())
    };
    now.into_iter().map(|(id, now)| device_row(desk, id, now, &maintenance)).collect()
}

fn device_row(desk: &Desk, id: DeviceId, now: DeviceNow, maintenance: &[Maintenance]) -> DeviceRow {
    let device = desk.rooms.site.device(id);
    let commands = desk.rooms.plan.commands.iter().filter(|command| command.device == id);
    let over = maintenance.iter().filter(|one| one.scope.has(&device.id, &device.place));
    let last = over.max_by_key(|one| one.until);
    DeviceRow {
        id: device.id.clone(),
        profile: device.profile.clone(),
        place: device.place.clone(),
        channel: device.channel.clone(),
        state: last.map_or(now.state.word(), |_| "maintenance"),
        since: last.map(|one| one.since).or(now.since).map(time::format),
        error: now.error,
        commands: commands
            .map(|command| CommandRow {
                action: command.action.clone(),
                targets: command.targets.clone(),
                reason: command.reason,
            })
            .collect(),
        maintenance: last.map(|one| {
            let mut told = one.told();
            told.insert("state".into(), now.state.word().into());
            told
        }),
    }
}

#[derive(Debug, Serialize)]
pub struct Points {
    points: Vec<PointRow>,
}

#[derive(Debug, Serialize)]
struct PointRow {
    id: Arc<str>,
    device: Arc<str>,
    /// It reads the last word of what happened at a door or locker, and nothing before the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    momentary: bool,
    value: Option<Value>,
    /// What the device said, where that is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Value>,
    quality: &'static str,
    reason: Option<&'static str>,
    unit: Option<Arc<str>>,
    at: Option<String>,
    last_good: Option<Value>,
    last_good_at: Option<String>,
}

/// `GET /api/v1/points`
pub async fn points(State(desk): State<Arc<Desk>>) -> Json<Points> {
    let ids = (0..desk.rooms.site.points.len() as u32).map(PointId);
    let now: Vec<(PointId, PointNow)> = {
        let live = desk.rooms.live.lock();
        ids.map(|id| (id, live.point(id).clone())).collect()
    };
    Json(points_now(&desk, now))
}

/// Rows of some points.
pub fn points_now(desk: &Desk, now: Vec<(PointId, PointNow)>) -> Points {
    Points { points: now.into_iter().map(|(id, now)| point_row(desk, id, now)).collect() }
}

fn point_row(desk: &Desk, id: PointId, now: PointNow) -> PointRow {
    let site = &desk.rooms.site;
    let point = site.point(id);
    let device = site.device(point.device);
    let own = device.first_point..device.first_point + device.points;
    let (last_good_at, last_good) = now.last_good.unzip();
    PointRow {
        id: point.id.clone(),
        device: device.id.clone(),
        momentary: !own.contains(&id.0),
        value: now.value,
        raw: now.raw,
        quality: now.quality.word(),
        reason: now.reason.map(crate::reading::Reason::word),
        unit: point.unit.clone(),
        at: now.at.map(time::format),
        last_good,
        last_good_at: last_good_at.map(time::format),
    }
}
