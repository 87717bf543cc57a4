//! Whether a value fulfils a condition. Pure, without memory.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::reading::Value;

/// What one value says about a condition with a deadband.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Holds,
    /// Back by the deadband.
    Gone,
    /// Inside the deadband: whatever was, stays.
    Between,
}

impl Condition {
    /// `None` where the value is of a kind that cannot be compared (a text against a limit),
    /// or the condition is not about the value of the moment.
    pub fn judge(&self, value: &Value, deadband: f64) -> Option<Verdict> {
        let verdict = |holds: bool, gone: bool| match (holds, gone) {
            (true, _) => Verdict::Holds,
            (false, true) => Verdict::Gone,
            (false, false) => Verdict::Between,
        };
        Some(match self {
            Condition::Above(limit) => {
                let v = value.number()?;
                verdict(v > *limit, down_to(v, *limit, deadband))
            }
            Condition::Below(limit) => {
                let v = value.number()?;
                verdict(v < *limit, up_to(v, *limit, deadband))
            }
            Condition::Outside(low, high) => {
                let v = value.number()?;
                let within = up_to(v, *low, deadband) && down_to(v, *high, deadband);
                verdict(v < *low || v > *high, within)
            }
            Condition::Inside(low, high) => {
                let v = value.number()?;
                let inside = v >= *low && v <= *high;
                let without = down_to(v, *low, deadband) || up_to(v, *high, deadband);
                verdict(inside, without)
            }
            Condition::Equals(wanted) => {
                let same = value.same(wanted);
                verdict(same, !same)
            }
            Condition::NotEquals(wanted) => {
                let same = value.same(wanted);
                verdict(!same, same)
            }
            _ => return None,
        })
    }
}

/// Below the limit by the deadband, or more.
fn down_to(v: f64, limit: f64, deadband: f64) -> bool {
    v <= limit - deadband + hair(limit, deadband)
}

/// Above the limit by the deadband, or more.
fn up_to(v: f64, limit: f64, deadband: f64) -> bool {
    v >= limit + deadband - hair(limit, deadband)
}

/// By how much binary numbers may miss what decimals add up to: 30.1 + 0.1 is a hair above 30.2.
fn hair(limit: f64, deadband: f64) -> f64 {
    (limit.abs() + deadband) * 4.0 * f64::EPSILON
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Between, Gone, Holds};
    use super::*;

    #[test]
    fn each_condition_draws_its_line_where_the_contract_says() {
        let text = |t: &str| Value::Text(t.into());
        type Case<'a> = (Condition, f64, &'a [(f64, Verdict)]);
        let cases: &[Case] = &[
            (Condition::Above(10.0), 0.0, &[(10.0, Gone), (10.1, Holds)]),
            (Condition::Above(10.0), 2.0, &[(8.0, Gone), (8.1, Between), (10.0, Between), (10.1, Holds)]),
            (Condition::Below(10.0), 2.0, &[(12.0, Gone), (11.9, Between), (10.0, Between), (9.9, Holds)]),
            (Condition::Outside(0.0, 10.0), 0.0, &[(0.0, Gone), (10.0, Gone), (-0.1, Holds), (10.1, Holds)]),
            (Condition::Outside(0.0, 10.0), 1.0, &[(0.5, Between), (1.0, Gone), (9.5, Between)]),
            (Condition::Inside(0.0, 10.0), 0.0, &[(0.0, Holds), (10.0, Holds), (10.1, Gone), (-0.1, Gone)]),
            (Condition::Inside(0.0, 10.0), 1.0, &[(10.5, Between), (11.0, Gone), (-1.0, Gone)]),
            (Condition::Equals(Value::Signed(3)), 0.0, &[(3.0, Holds), (3.1, Gone)]),
            (Condition::NotEquals(Value::Number(3.0)), 0.0, &[(3.0, Gone), (3.1, Holds)]),
        ];
        for (condition, deadband, points) in cases {
            for (value, verdict) in *points {
                let judged = condition.judge(&Value::Number(*value), *deadband);
                assert_eq!(judged, Some(*verdict), "{condition:?} ± {deadband} at {value}");
            }
        }
        assert_eq!(Condition::Equals(text("open")).judge(&text("open"), 0.0), Some(Holds));
        assert_eq!(Condition::Equals(text("open")).judge(&text("closed"), 0.0), Some(Gone));
        assert_eq!(Condition::Above(1.0).judge(&text("open"), 0.0), None);
    }
}
