//! The words of a picture, in the two languages of those who read it.

use serde_json::Value as Json;

use super::story::Kind;
use crate::reading::Value;
use crate::rules::Locale::{self, ZhCn};
use crate::rules::said as said_in;
use crate::ticket::State;

pub fn mark(kind: Kind, locale: Locale) -> &'static str {
    match (kind, locale) {
        (Kind::Since, ZhCn) => "异常开始",
        (Kind::Since, _) => "began",
        (Kind::Opened, ZhCn) => "生成工单",
        (Kind::Opened, _) => "opened",
        (Kind::Acknowledged, ZhCn) => "已确认",
        (Kind::Acknowledged, _) => "acknowledged",
        (Kind::Started, ZhCn) => "开始处理",
        (Kind::Started, _) => "work started",
        (Kind::Escalated, ZhCn) => "超时升级",
        (Kind::Escalated, _) => "escalated",
        (Kind::Cleared, ZhCn) => "恢复正常",
        (Kind::Cleared, _) => "cleared",
        (Kind::Reopened, ZhCn) => "再次打开",
        (Kind::Reopened, _) => "reopened",
        (Kind::Resolved, ZhCn) => "处理完成",
        (Kind::Resolved, _) => "resolved",
        (Kind::Verified, ZhCn) => "验证通过",
        (Kind::Verified, _) => "verified",
        (Kind::Closed, ZhCn) => "已关闭",
        (Kind::Closed, _) => "closed",
    }
}

pub fn state(state: State, locale: Locale) -> &'static str {
    match (state, locale) {
        (State::Open, ZhCn) => "待处理",
        (State::Open, _) => "open",
        (State::Acknowledged, ZhCn) => "已确认",
        (State::Acknowledged, _) => "acknowledged",
        (State::InProgress, ZhCn) => "处理中",
        (State::InProgress, _) => "in progress",
        (State::Resolved, ZhCn) => "已处理",
        (State::Resolved, _) => "resolved",
        (State::Closed, ZhCn) => "已关闭",
        (State::Closed, _) => "closed",
    }
}

pub fn level(level: u8, locale: Locale) -> &'static str {
    match (level, locale) {
        (1, ZhCn) => "紧急",
        (1, _) => "urgent",
        (2, ZhCn) => "重要",
        (2, _) => "important",
        (_, ZhCn) => "一般",
        (_, _) => "ordinary",
    }
}

pub fn ticket(locale: Locale) -> &'static str {
    if locale == ZhCn { "工单" } else { "ticket" }
}

pub fn condition(locale: Locale) -> &'static str {
    if locale == ZhCn { "异常" } else { "condition" }
}

pub fn no_reading(locale: Locale) -> &'static str {
    if locale == ZhCn { "无读数" } else { "no readings" }
}

pub fn more(count: usize, locale: Locale) -> String {
    if locale == ZhCn { format!("另有 {count} 次变化") } else { format!("{count} changes more") }
}

/// The condition in words: `低于 200 kPa`.
pub fn limit(limit: &Json, unit: &str, locale: Locale) -> String {
    let Some((word, value)) = limit.as_object().and_then(|limit| limit.iter().next()) else {
        return String::new();
    };
    let zh = locale == ZhCn;
    let text = match word.as_str() {
        "above" => format!("{} {}", if zh { "高于" } else { "above" }, with_unit(value, unit, locale)),
        "below" => format!("{} {}", if zh { "低于" } else { "below" }, with_unit(value, unit, locale)),
        "outside" => format!("{} {}", if zh { "超出" } else { "outside" }, with_unit(value, unit, locale)),
        "inside" => format!("{} {}", if zh { "处于" } else { "within" }, with_unit(value, unit, locale)),
        "equals" => format!("{} {}", if zh { "等于" } else { "is" }, with_unit(value, unit, locale)),
        "not_equals" => {
            format!("{} {}", if zh { "不等于" } else { "is not" }, with_unit(value, unit, locale))
        }
        "silent" if zh => format!("无响应超过 {}", said(value, locale)),
        "silent" => format!("silent for {}", said(value, locale)),
        "stuck" if zh => format!("无变化超过 {}", said(value, locale)),
        "stuck" => format!("unchanged for {}", said(value, locale)),
        "offline" if zh => format!("线路离线超过 {}", said(value, locale)),
        "offline" => format!("line offline for {}", said(value, locale)),
        other => format!("{} {}", condition_word(other, zh), said(value, locale)),
    };
    text.trim_end().to_owned()
}

/// The conditions that look at more than the value of the moment.
fn condition_word(word: &str, zh: bool) -> &str {
    match word {
        _ if !zh => word,
        "rises" => "上升",
        "falls" => "下降",
        "count" => "次数",
        "when" => "条件",
        "forecast" => "预测",
        "runtime" => "累计运行",
        "cycles" => "累计次数",
        "schedule" => "定期",
        "storm" => "告警风暴",
        "storage" => "存储",
        "unsynced" => "时钟未同步",
        _ => word,
    }
}

/// What a point said, as titles say it.
pub fn value(text: &str, locale: Locale) -> String {
    said_in(&Value::Text(text.into()), locale)
}

fn with_unit(value: &Json, unit: &str, locale: Locale) -> String {
    format!("{} {unit}", said(value, locale)).trim_end().to_owned()
}

/// `200`, `20 … 95`, `wet`, `by 5, within 10m`.
fn said(json: &Json, locale: Locale) -> String {
    match json {
        Json::String(text) => value(text, locale),
        Json::Number(_) => {
            serde_json::from_value::<Value>(json.clone()).map(|value| value.to_string()).unwrap_or_default()
        }
        Json::Array(parts) => parts.iter().map(|part| said(part, locale)).collect::<Vec<_>>().join(" … "),
        Json::Object(parts) => {
            let part = |(word, value): (&String, &Json)| format!("{word} {}", said(value, locale));
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
        Json::Bool(flag) => flag.to_string(),
        Json::Null => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_said_as_people_say_them() {
        let zh = |value: Json| limit(&value, "kPa", ZhCn);
        assert_eq!(zh(json!({ "below": 200.0 })), "低于 200 kPa");
        assert_eq!(zh(json!({ "outside": [20.0, 95.5] })), "超出 20 … 95.5 kPa");
        assert_eq!(limit(&json!({ "equals": "wet" }), "", Locale::En), "is wet");
        assert_eq!(limit(&json!({ "silent": "10m" }), "", Locale::En), "silent for 10m");
        let rise = json!({ "rises": { "by": 5.0, "within": "10m" } });
        assert_eq!(limit(&rise, "", Locale::En), "rises by 5, within 10m");
        assert_eq!(limit(&Json::Null, "", Locale::En), "");
    }
}
