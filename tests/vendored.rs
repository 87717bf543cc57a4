//! What others wrote and the page carries is byte for byte what they released.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use ring::digest::{SHA256, digest};

#[test]
fn uplot_is_as_it_was_released() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page/uplot");
    let readme = fs::read_to_string(dir.join("README.md")).unwrap();
    let sums: Vec<(&str, &str)> = readme.lines().filter_map(sum_and_file).collect();
    let mut compared = 0;
    for file in fs::read_dir(&dir).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        let said = sums.iter().find(|(_, of)| *of == name).map(|(sum, _)| *sum);
        let bytes = fs::read(file.path()).unwrap();
        let found: String =
            digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(said, Some(found.as_str()), "{name} is not what src/web/page/uplot/README.md says");
        compared += 1;
    }
    assert_eq!(compared, 3, "script, style and licence");
}

/// ``| `<sum>` | <file> |``
fn sum_and_file(line: &str) -> Option<(&str, &str)> {
    let (sum, file) = line.strip_prefix("| `")?.split_once("` | ")?;
    Some((sum, file.strip_suffix(" |")?))
}
