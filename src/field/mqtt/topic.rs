//! Topic filters: `+` is one level, a last `#` all the rest. Pure.

/// Whether `topic` is one that `filter` asks for. Wildcards do not reach into topics that begin with `$`
/// (MQTT 3.1.1, 4.7.2).
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether a broker takes `filter`: wildcards stand alone in their level, `#` in the last one.
pub fn is_filter(filter: &str) -> bool {
    let last = filter.split('/').count() - 1;
    !filter.is_empty()
        && filter.len() <= usize::from(u16::MAX)
        && !filter.contains('\0')
        && filter.split('/').enumerate().all(|(n, level)| match level {
            "#" => n == last,
            "+" => true,
            _ => !level.contains(['+', '#']),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, yes) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/+", "$SYS/uptime", true),
            ("/a", "a", false),
        ] {
            assert_eq!(matches(filter, topic), yes, "{filter} over {topic}");
        }
    }

    #[test]
    fn a_wildcard_stands_alone_in_its_level() {
        for (filter, yes) in [("a/+/b", true), ("a/#", true), ("a/#/b", false), ("a/b+", false), ("", false)]
        {
            assert_eq!(is_filter(filter), yes, "{filter}");
        }
    }
}
