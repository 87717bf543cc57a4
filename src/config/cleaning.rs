//! `clean`: how false numbers of a point are told from true ones. Written at a point it holds; a profile only suggests it,
//! until a device says `clean = true`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

use super::codes::Code;
use super::ear::{Below, address};
use super::kinds::millis;
use super::profiles::Known;
use super::section::Section;
use super::tree::Node;
use crate::field::profile::{Point, Shape, Source};
use crate::reading::{Clean, Millis};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const STUCK: RangeInclusive<Duration> = MINUTE..=DAY.saturating_mul(30);
/// What lies further back was not measured.
const FILL: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY.saturating_mul(7);
const EXAMPLE: &str = "`clean = { rate = 0.5, spike = true, stuck = \"6h\", fill = \"5m\" }`";

/// `clean = { … }` of a point that has this shape.
pub(super) fn clean(section: &mut Section<'_>, shape: &Shape) -> Clean {
    let Some(entry) = section.entry("clean") else {
        return Clean::default();
    };
    let Node::Table(table) = &entry.value.node else {
        let what = format!("`clean` of a point is {}, it has to be a table", entry.value.kind());
        section.report.mistake(Code::WrongType, entry.value.spot, what, format!("write it like {EXAMPLE}"));
        return Clean::default();
    };
    section.hear_below("clean", Below::One(address(table)));
    let mut keys = Section::new(table, "`clean`", section.report);
    for key in ["rate", "spike", "stuck", "fill"] {
        if let (Some(entry), Shape::Bool | Shape::Text | Shape::Words(_)) = (keys.peek(key), shape) {
            let what = format!("`{key}` is for numbers, {} is not one", section.name);
            section.report.mistake(Code::OfNoUse, entry.key_spot, what, "leave it out");
        }
    }
    let rate = keys.take::<f64>("rate");
    keys.narrow("rate", || json!({ "exclusiveMinimum": 0 }));
    if let Some(rate) = rate.as_ref().filter(|rate| rate.value <= 0.0) {
        let cure = "write how much it can change in a second, in its unit: `rate = 0.5`";
        section.report.mistake(Code::OutOfRange, rate.spot, format!("`rate` is {}", rate.value), cure);
    }
    let clean = Clean {
        rate: rate.map(|rate| rate.value),
        spike: keys.take_or("spike", false),
        stuck: keys.span("stuck", STUCK).map(|span| millis(span.value)),
        fill: keys.span("fill", FILL).map(|span| millis(span.value)),
        slot: keys.span("every", EVERY).map(|span| slot(span.value)),
    };
    keys.finish();
    clean
}

/// `clean = true` of a device: its profile's points are cleaned as that suggests.
pub(super) fn as_suggested(section: &mut Section<'_>, known: Option<&Known<'_>>) -> bool {
    let Some(clean) = section.take::<bool>("clean").filter(|clean| clean.value) else {
        return false;
    };
    let (what, cure) = match known {
        Some(known) if known.profile.points.iter().any(|point| point.clean != Clean::default()) => {
            return true;
        }
        // An unknown profile is complained of already.
        None if section.peek("profile").is_some() => return true,
        Some(_) => {
            ("`clean` turns on what the profile suggests, and it suggests nothing", "leave it out".to_owned())
        }
        None => {
            let cure = format!("write {EXAMPLE} at a `[[device.point]]`");
            ("`clean` turns on what a profile suggests, and there is none", cure)
        }
    };
    section.report.mistake(Code::NothingSuggested, clean.spot, what, cure);
    true
}

/// What the site is told of the point: how often it has to say something is known of those that are asked.
pub(super) fn in_the_site(point: &Point, poll: Option<Duration>) -> Clean {
    let own = match point.source {
        Source::Register { poll, .. } => poll,
        _ => None,
    };
    let asked = poll.map(|poll| slot(own.unwrap_or(poll)));
    Clean { slot: point.clean.slot.or(asked), ..point.clean }
}

/// A minute, or two periods of a slower point: answers do not come so evenly that there is one in each period.
fn slot(every: Duration) -> Millis {
    millis((every * 2).max(MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_sources;
    use crate::reading::Site;

    fn site(devices: &str) -> std::sync::Arc<Site> {
        let text = format!(
            "[gateway]\nid = \"a\"\n[[channel]]\nid = \"c\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.1:502\"\n\
             [[channel]]\nid = \"b\"\ntype = \"mqtt\"\nurl = \"mqtt://192.0.2.2:1883\"\n{devices}"
        );
        load_sources(vec![("gatehouse.toml".into(), text)]).unwrap().gateway.site.clone()
    }

    fn point(site: &Site, id: &str) -> Clean {
        site.point(site.point_named(id).unwrap()).clean
    }

    #[test]
    fn a_profile_only_suggests_and_what_is_written_at_a_point_holds() {
        let site = site(
            "[[device]]\nid = \"on\"\nchannel = \"c\"\nunit = 1\nprofile = \"xy-md02\"\nclean = true\n\
             [[device]]\nid = \"off\"\nchannel = \"c\"\nunit = 2\nprofile = \"xy-md02\"\n\
             [[device.point]]\nid = \"own\"\ntable = \"holding\"\nregister = 9\ntype = \"u16\"\n\
             clean = { rate = 0.5, stuck = \"6h\", fill = \"5m\" }\n",
        );
        let on = point(&site, "on.temperature");
        assert!(on.spike && on.rate.is_some() && on.fill == Some(300_000), "{on:?}");
        assert_eq!(point(&site, "off.temperature"), Clean { slot: Some(60_000), ..Clean::default() });
        let own = Clean {
            rate: Some(0.5),
            spike: false,
            stuck: Some(21_600_000),
            fill: Some(300_000),
            slot: Some(60_000),
        };
        assert_eq!(point(&site, "off.own"), own);
    }

    #[test]
    fn who_is_asked_has_to_answer_and_who_speaks_by_itself_may_keep_silent_unless_it_says_how_often() {
        let site = site(
            "[[device]]\nid = \"slow\"\nchannel = \"c\"\nunit = 1\npoll = \"5m\"\n\
             [[device.point]]\nid = \"a\"\ntable = \"coil\"\nregister = 0\n\
             [[device.point]]\nid = \"b\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\npoll = \"10m\"\n\
             [[device]]\nid = \"hall\"\nchannel = \"b\"\ntopic = \"hall\"\n\
             [[device.point]]\nid = \"a\"\njson = \"/a\"\n\
             [[device.point]]\nid = \"b\"\njson = \"/b\"\nclean = { every = \"1h\" }\n",
        );
        let slots = ["slow.a", "slow.b", "hall.a", "hall.b"].map(|id| point(&site, id).slot);
        assert_eq!(slots, [Some(600_000), Some(1_200_000), None, Some(7_200_000)]);
    }
}
