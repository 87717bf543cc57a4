//! What is changed is found, with its number.

use super::*;

#[test]
fn what_the_centre_keeps_is_given_as_a_header_or_an_answer_says_it() {
    let link = Link::first("g", "e");
    let anchor = Anchor { epoch: "e".into(), seq: 17, link };
    assert_eq!(format!("e.17:{link}").parse(), Ok(anchor.clone()));
    assert_eq!(format!("e.17 {link}\n").parse(), Ok(anchor));
    for wrong in ["", "e.17", "e:17", &format!("17:{link}"), &format!("e.x:{link}"), "e.17:00"] {
        assert!(wrong.parse::<Anchor>().is_err(), "{wrong}");
    }
}

#[test]
fn a_number_has_one_fault_and_their_list_is_bounded() {
    let mut report = Report::default();
    report.fault(Some(7), "first");
    report.fault(Some(7), "second");
    for seq in 8..8 + 2 * FAULTS_MAX as u64 {
        report.fault(Some(seq), "x");
    }
    assert_eq!((report.faults.len(), report.more), (FAULTS_MAX, FAULTS_MAX as u64 + 1));
    assert_eq!(report.faults[0].what, "first");
}
