//! The rules as they are configured, and how many tickets of each are not closed.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value as JsonValue, json};

use super::Desk;
use super::plan::Rule;
use super::problem::Problem;

/// `GET /api/v1/rules`
pub async fn rules(State(desk): State<Arc<Desk>>) -> Result<Json<JsonValue>, Problem> {
    let answer = desk.look(|desk| {
        let opens = desk.rooms.view.unclosed_by_rule();
        let opens = opens.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
        let rows: Vec<JsonValue> = desk.rooms.plan.rules.iter().map(|rule| row(desk, rule, &opens)).collect();
        Ok(json!({ "rules": rows }))
    });
    Ok(Json(answer.await?))
}

fn row(desk: &Desk, rule: &Rule, opens: &HashMap<String, u64>) -> JsonValue {
    let site = &desk.rooms.site;
    let points: Vec<&str> = rule.points.iter().map(|id| &*site.point(*id).id).collect();
    let devices: Vec<&str> = rule.devices.iter().map(|id| &*site.device(*id).id).collect();
    json!({
        "id": rule.id,
        "points": points,
        "devices": devices,
        "condition": rule.condition,
        "deadband": rule.deadband,
        "on_delay": rule.on_delay,
        "off_delay": rule.off_delay,
        "class": rule.class,
        "level": rule.level,
        "trade": rule.trade,
        "opens": opens.get(&*rule.id).unwrap_or(&0),
    })
}
