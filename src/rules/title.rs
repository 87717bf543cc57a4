//! What a ticket is called, in the language of those who read it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::judge::Outlook;
use super::{Condition, Limit, Locale, Rule};
use crate::reading::{Millis, Value};

/// What a title can speak of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub device: &'a str,
    /// `device.point`, or empty for a ticket about a device.
    pub point: &'a str,
    pub place: &'a str,
    pub value: Option<&'a Value>,
    pub unit: &'a str,
    pub outlook: Option<Outlook>,
}

/// The rule's own title with its places filled in, or one that its condition makes.
pub fn title(rule: &Rule, locale: Locale, facts: &Facts) -> String {
    match &rule.title {
        Some(template) => fill(template, rule, facts),
        None => default(rule, locale, facts),
    }
}

fn fill(template: &str, rule: &Rule, facts: &Facts) -> String {
    let value = facts.value.map(Value::to_string).unwrap_or_default();
    // What the device has yet to say of its unit leaves no gap.
    let template = if facts.unit.is_empty() { &template.replace(" {unit}", "") } else { template };
    let filled = template
        .replace("{device}", facts.device)
        .replace("{point}", facts.point)
        .replace("{place}", facts.place)
        .replace("{value}", &value)
        .replace("{unit}", facts.unit)
        .replace("{limit}", &limit(&rule.condition));
    filled.trim_end().to_owned()
}

fn default(rule: &Rule, locale: Locale, facts: &Facts) -> String {
    let zh = locale == Locale::ZhCn;
    let place = if facts.place.is_empty() { facts.device } else { facts.place };
    let short = facts.point.rsplit_once('.').map_or(facts.point, |(_, short)| short);
    let what = if zh { point_zh(short) } else { short.replace('-', " ") };
    let value = match facts.value {
        Some(value) => format!("{} {}", word(value, zh), facts.unit).trim_end().to_owned(),
        None => String::new(),
    };
    let limit = limit(&rule.condition);
    match (&rule.condition, zh) {
        (Condition::Silent(_), true) if facts.point.is_empty() => {
            format!("{place}: 设备 {} 无响应超过 {limit}", facts.device)
        }
        (Condition::Silent(_), false) if facts.point.is_empty() => {
            format!("{place}: device {} silent for {limit}", facts.device)
        }
        (Condition::Silent(_), true) => format!("{place}: {what}无数据超过 {limit}"),
        (Condition::Silent(_), false) => format!("{place}: {what} without a reading for {limit}"),
        (Condition::Above(_), true) => format!("{place}: {what}过高 {value}（限值 {limit}）"),
        (Condition::Above(_), false) => format!("{place}: {what} high {value} (limit {limit})"),
        (Condition::Below(_), true) => format!("{place}: {what}过低 {value}（限值 {limit}）"),
        (Condition::Below(_), false) => format!("{place}: {what} low {value} (limit {limit})"),
        (Condition::Outside(..), true) => format!("{place}: {what}超出范围 {value}（{limit}）"),
        (Condition::Outside(..), false) => format!("{place}: {what} out of range {value} ({limit})"),
        (Condition::Inside(..), true) => format!("{place}: {what}处于 {limit}: {value}"),
        (Condition::Inside(..), false) => format!("{place}: {what} within {limit}: {value}"),
        (Condition::Equals(_) | Condition::NotEquals(_), _) => {
            format!("{place}: {} {value}", what.trim_end())
        }
        (Condition::Rises { .. }, true) => format!("{place}: {what}上升过快 {value}（{limit}）"),
        (Condition::Rises { .. }, false) => format!("{place}: {what} rising fast {value} ({limit})"),
        (Condition::Falls { .. }, true) => format!("{place}: {what}下降过快 {value}（{limit}）"),
        (Condition::Falls { .. }, false) => format!("{place}: {what} falling fast {value} ({limit})"),
        (Condition::Stuck(_), true) => format!("{place}: {what}超过 {limit} 无变化，疑似传感器卡死"),
        (Condition::Stuck(_), false) => format!("{place}: {what} has not changed for {limit}"),
        (Condition::Count { equals, .. }, true) => {
            format!("{place}: {what}多次 {}（{limit}）", word(equals, true))
        }
        (Condition::Count { equals, .. }, false) => format!("{place}: {what} {equals} repeatedly ({limit})"),
        (Condition::When(_), true) => {
            format!("{place}: 组合条件 {}", rule.id).trim_start_matches(": ").to_owned()
        }
        (Condition::When(_), false) => format!("{place}: {}", rule.id).trim_start_matches(": ").to_owned(),
        (Condition::Forecast { within, zone, .. }, zh) => {
            let limit = format!("{limit} {}", facts.unit).trim_end().to_owned();
            format!("{place}: {}", forecast(what.trim_end(), &limit, *within, zone, facts.outlook, zh))
        }
        (Condition::Runtime { .. }, true) => format!("{place}: {what}累计运行 {limit}，需保养"),
        (Condition::Runtime { .. }, false) => {
            format!("{place}: {what} has run for {limit}, maintenance is due")
        }
        (Condition::Cycles { .. }, true) => format!("{place}: {what}累计 {limit} 次，需保养"),
        (Condition::Cycles { .. }, false) => {
            format!("{place}: {what} has had {limit} cycles, maintenance is due")
        }
        (Condition::Schedule(_), true) => {
            format!("{place}: 定期保养 {}", rule.id).trim_start_matches(": ").to_owned()
        }
        (Condition::Schedule(_), false) => {
            format!("{place}: periodic upkeep {}", rule.id).trim_start_matches(": ").to_owned()
        }
        (Condition::ChannelOffline, true) => format!("通信线路离线 {place}"),
        (Condition::ChannelOffline, false) => format!("Channel {place} is offline"),
        (Condition::ClockUnsynced, true) => "时钟未同步，工单时限暂停".to_owned(),
        (Condition::ClockUnsynced, false) => "Clock not synchronised, deadlines stand still".to_owned(),
        (Condition::Storm { .. }, true) => format!("告警风暴：{value} 个工单被暂缓"),
        (Condition::Storm { .. }, false) => format!("Alarm storm: {value} tickets held back"),
        (Condition::StorageLow, true) => format!("网关存储异常：{}", storage(&value, true)),
        (Condition::StorageLow, false) => format!("Gateway storage: {}", storage(&value, false)),
    }
}

fn forecast(
    what: &str,
    limit: &str,
    within: Millis,
    zone: &TimeZone,
    outlook: Option<Outlook>,
    zh: bool,
) -> String {
    match (outlook, zh) {
        (Some(Outlook::Reached), true) => format!("{what}已达到 {limit}"),
        (Some(Outlook::Reached), false) => format!("{what} has reached {limit}"),
        (Some(Outlook::Expected { at, percent }), true) => {
            format!("预计{what}将于 {} 前后达到 {limit}（置信度 {percent}%）", date(at, zone))
        }
        (Some(Outlook::Expected { at, percent }), false) => {
            format!("{what} is expected to reach {limit} around {} (confidence {percent} %)", date(at, zone))
        }
        (None, true) => format!("预计{what}将在 {} 内达到 {limit}", span_text(within)),
        (None, false) => format!("{what} is expected to reach {limit} within {}", span_text(within)),
    }
}

/// What is wrong with the gateway's disk, for whoever has to go there.
fn storage(word: &str, zh: bool) -> &'static str {
    match (word, zh) {
        ("card", true) => "存储卡无法写入，工单暂存内存，请更换",
        ("card", false) => "the card takes no writes, tickets are kept in memory; replace it",
        ("limit", true) => "未确认的数据已达容量上限，请检查与中心的连接",
        ("limit", false) => "what the centre has not taken fills its share; look at the line to the centre",
        (_, true) => "磁盘空间不足",
        (_, false) => "the disk is running full",
    }
}

/// The day there.
fn date(at: Millis, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX);
    at.to_zoned(zone.clone()).date().to_string()
}

fn limit(condition: &Condition) -> String {
    match condition {
        Condition::Above(x) | Condition::Below(x) => x.to_string(),
        Condition::Outside(low, high) | Condition::Inside(low, high) => format!("{low} … {high}"),
        Condition::Equals(value) | Condition::NotEquals(value) => value.to_string(),
        Condition::Silent(span) | Condition::Stuck(span) => span_text(*span),
        Condition::Rises { by, within } | Condition::Falls { by, within } => {
            format!("{by} / {}", span_text(*within))
        }
        Condition::Count { times, within, .. } => format!("{times} / {}", span_text(*within)),
        Condition::When(expression) => expression.text.split_whitespace().collect::<Vec<_>>().join(" "),
        Condition::Forecast { limit: Limit::Above(x) | Limit::Below(x), .. } => x.to_string(),
        Condition::Runtime { lasts, .. } => span_text(*lasts),
        Condition::Cycles { count, .. } => count.to_string(),
        Condition::Schedule(occasions) => occasions.text.to_string(),
        Condition::ChannelOffline
        | Condition::Storm { .. }
        | Condition::StorageLow
        | Condition::ClockUnsynced => String::new(),
    }
}

/// `90 s`, `10 min`, `6 h`: units that read the same in both languages.
fn span_text(millis: i64) -> String {
    match millis / 1000 {
        s if s % 3600 == 0 && s > 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 && s > 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// The point names of our profiles, as people here say them; any other stands as it is.
fn point_zh(short: &str) -> String {
    let (name, number) = match short.rsplit_once('-') {
        Some((name, number)) if number.trim_start_matches('l').bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(number.to_uppercase()))
        }
        _ => (short, None),
    };
    let known = match name {
        "temperature" => "温度",
        "humidity" => "湿度",
        "pressure" => "压力",
        "level" => "液位",
        "flow" => "流量",
        "volume" => "用水量",
        "leak" => "漏水",
        "smoke" => "烟雾",
        "motion" => "移动",
        "door" => "门",
        "cell" => "柜格",
        "item" => "物品",
        "co2" => "二氧化碳",
        "voltage" => "电压",
        "current" => "电流",
        "power" => "功率",
        "energy" => "电量",
        "frequency" => "频率",
        "power-factor" => "功率因数",
        "battery" => "电池",
        "runtime" => "续航时间",
        "load" => "负载",
        "state" => "状态",
        "access" => "门禁",
        "locker" => "快递柜",
        "tamper" => "防拆",
        "on-battery" => "电池供电",
        "vibration" => "振动",
        "depth" => "水深",
        "input" => "输入",
        "relay" => "继电器",
        _ => return format!("{short} "),
    };
    match number {
        Some(number) => format!("{known} {number} "),
        None => known.to_owned(),
    }
}

/// What a point says, for who reads it.
pub fn said(value: &Value, locale: Locale) -> String {
    word(value, locale == Locale::ZhCn)
}

/// The words of our profiles in Chinese; numbers and other words stand as they are.
fn word(value: &Value, zh: bool) -> String {
    let text = value.to_string();
    let known = match text.as_str() {
        _ if !zh => return text,
        "open" => "开着",
        "closed" => "关着",
        "wet" => "有水",
        "dry" => "干燥",
        "alarm" => "报警",
        "clear" => "正常",
        "on" => "开",
        "off" => "关",
        "running" => "运行",
        "stopped" => "停止",
        "fault" => "故障",
        "yes" => "是",
        "no" => "否",
        "failed" => "失效",
        "denied" => "拒绝进入",
        "forced" => "强行打开",
        "held" => "未关",
        "keypad" => "按键",
        "unexpected" => "异常打开",
        "jammed" => "卡住",
        "overdue" => "超期",
        _ => return text,
    };
    known.to_owned()
}
