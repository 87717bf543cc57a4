//! Which points a listener wants, by globs. Pure.

use glob::Pattern;

use crate::reading::{PointId, Site};
use crate::web::problem::Problem;

const PATTERNS_MAX: usize = 64;
/// Characters of one.
const PATTERN_MAX: usize = 200;

/// In the order of the configuration, each once. A pattern that fits none is no mistake: points come and go with the
/// configuration.
pub fn points(site: &Site, globs: &str) -> Result<Vec<PointId>, Problem> {
    let globs: Vec<&str> = globs.split(',').map(str::trim).filter(|glob| !glob.is_empty()).collect();
    if globs.len() > PATTERNS_MAX {
        return Err(Problem::bad_request(format!(
            "points= may name up to {PATTERNS_MAX} patterns; one can mean many: pump-1.*"
        )));
    }
    let patterns = globs.into_iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
    let fits = |id: &str| patterns.iter().any(|pattern| pattern.matches(id));
    let points = site.points.iter().enumerate().filter(|(_, point)| fits(&point.id));
    Ok(points.map(|(number, _)| PointId(number as u32)).collect())
}

fn pattern(glob: &str) -> Result<Pattern, Problem> {
    if glob.chars().count() > PATTERN_MAX {
        return Err(Problem::bad_request(format!(
            "a pattern of points= may have up to {PATTERN_MAX} characters; write it like pump-1.*"
        )));
    }
    Pattern::new(glob).map_err(|error| {
        Problem::bad_request(format!(
            "`{glob}` of points= is no pattern: {}; write it like pump-1.*",
            error.msg
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Clean, DeviceId, Point};

    #[test]
    fn globs_mean_points_once_each_and_a_broken_one_is_told() {
        let ids = ["pump-1.pressure", "pump-1.state", "b3.humidity"];
        let point = |id: &str| Point {
            id: id.into(),
            device: DeviceId(0),
            unit: None,
            range: None,
            deadband: 0.0,
            clean: Clean::default(),
        };
        let site = Site { points: ids.map(point).into(), ..Site::default() };
        for (globs, found) in [
            ("", &[][..]),
            ("pump-1.*", &[0, 1]),
            ("*.humidity, pump-1.state", &[1, 2]),
            ("*,*", &[0, 1, 2]),
            ("nobody.*", &[]),
        ] {
            let found: Vec<PointId> = found.iter().map(|n| PointId(*n)).collect();
            assert_eq!(points(&site, globs).unwrap(), found, "{globs}");
        }
        for broken in ["a***b".to_owned(), "[".to_owned(), ["x"; 65].join(","), "x".repeat(201)] {
            assert!(points(&site, &broken).is_err(), "{broken}");
        }
    }
}
