//! Another library in Rust, static, with a standard library of its own inside.

/// How many, found out by a thread and a hash table.
#[no_mangle]
pub extern "C" fn other_answer(n: i32) -> i32 {
    let table: std::collections::HashMap<i32, String> = (0..n).map(|i| (i, i.to_string())).collect();
    std::thread::spawn(move || table.len() as i32).join().unwrap_or(-1)
}
