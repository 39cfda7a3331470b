use super::*;

const LEAST: &str = "[channel]\npath = \"/x/orders.chan\"\n[cluster]\nservers = [\"nats://127.0.0.1:4222\"]\n[stream]\nname = \"ORDERS\"\n";

fn with(section: &str, line: &str) -> std::result::Result<Config, String> {
    let head = format!("[{section}]\n");
    match LEAST.contains(&head) {
        true => Config::parse(&LEAST.replace(&head, &format!("{head}{line}\n"))),
        false => Config::parse(&format!("{LEAST}{head}{line}\n")),
    }
}

#[test]
fn the_least_is_enough() {
    let config = Config::parse(LEAST).unwrap();
    assert_eq!(config.channel.group, "forwarder");
    assert_eq!(config.stream.replicas, 3);
    assert_eq!(config.forward.window, 1000);
    assert_eq!(config.subject("00").unwrap(), "disk_chan.orders_chan");
    assert_eq!(config.state(), Path::new("/x/orders.chan.bridge"));
    assert!(!config.stream.allow_one_replica && !config.cluster.allow_old_server);
}

#[test]
fn what_is_wrong_is_said() {
    for (section, line, said) in [
        ("stream", "colour = 1", "colour"),
        ("nothing", "a = 1", "nothing"),
        ("stream", "replicas = 0", "1 to 5"),
        ("stream", "max_age = \"5 parsecs\"", "a time such as"),
        ("stream", "max_age = 5", "a time such as"),
        ("stream", "max_bytes = \"8Mb\"", "bytes, such as"),
        ("stream", "max_bytes = -1", "bytes, such as"),
        ("stream", "subject = \"a.*\"", "no wildcards"),
        ("stream", "subject = \"a..b\"", "tokens between dots"),
        ("stream", "subject = \"a.{colour}\"", "are filled in"),
        ("forward", "window = 0", "1 to 4096"),
        ("forward", "pack_messages = 3000", "1 to 2048"),
        ("fetch", "batch = 0", "fetch.batch"),
        ("cluster", "user = \"u\"", "password_file"),
        ("cluster", "token_file = \"/none/such\"", "/none/such"),
        ("cluster", "answer_timeout = \"1ms\"", "too short"),
        ("channel", "group = \"\"", "channel.group"),
        ("serve", "listen = \"here\"", "socket address"),
    ] {
        let why = with(section, line).unwrap_err();
        assert!(why.contains(said), "{line}: no {said:?} in {why}");
    }
}

#[test]
fn times_and_sizes_have_units() {
    let config = with("stream", "max_age = \"2m\"\nmax_bytes = \"8MiB\"").unwrap();
    assert_eq!(config.stream.max_age.0, Duration::from_secs(120));
    assert_eq!(config.stream.max_bytes.0, 8 << 20);
}

#[test]
fn a_subject_is_filled_in() {
    let config = with("stream", "subject = \"a.{stream}.{uuid}.{channel}\"").unwrap();
    assert_eq!(config.subject("abc").unwrap(), "a.ORDERS.abc.orders_chan");
}
