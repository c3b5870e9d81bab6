//! What an executor may say of itself.

/// How many local directories an executor has at most.
const MAX_LOCAL_DIRS: usize = 256;
/// How many directories there are in each of these at most.
const MAX_SUB_DIRS: i32 = 1 << 16;
/// The longest id and the longest path, in bytes.
const MAX_ID: usize = 256;
const MAX_PATH: usize = 4096;

/// What an executor says of itself has a bound.
pub(crate) fn check(
    app: &str,
    executor: &str,
    local_dirs: &[String],
    sub_dirs: i32,
    shuffle_manager: &str,
) -> Result<u32, String> {
    for (what, id) in [("application", app), ("executor", executor)] {
        if id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
            return Err(format!(
                "the id of an {what} has 1 to {MAX_ID} bytes, and no control characters"
            ));
        }
    }
    if local_dirs.len() > MAX_LOCAL_DIRS {
        return Err(format!(
            "{} local directories, where at most {MAX_LOCAL_DIRS} are served",
            local_dirs.len()
        ));
    }
    let long = local_dirs.iter().map(String::as_str).chain([shuffle_manager]);
    if long.into_iter().any(|text| text.len() > MAX_PATH) {
        return Err(format!("a path or a class has at most {MAX_PATH} bytes"));
    }
    match (1..=MAX_SUB_DIRS).contains(&sub_dirs) {
        true => Ok(sub_dirs.unsigned_abs()),
        false => Err(format!("subDirsPerLocalDir is {sub_dirs}, not from 1 to {MAX_SUB_DIRS}")),
    }
}
