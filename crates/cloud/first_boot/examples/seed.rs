//! Tries a seed.
use first_boot::*;
fn main() {
    let mut args = std::env::args().skip(1);
    let out = args.next().unwrap();
    let reader = if args.next().unwrap() == "ci" { SeedReader::CloudInit } else { SeedReader::Service };
    let user_data = args.next().map(|p| std::fs::read_to_string(p).unwrap());
    let _ = std::fs::remove_file(&out);
    let user = DefaultUser {
        name: "debian".into(),
        ssh_keys: vec!["ssh-ed25519 AAAAC3Nz me".into()],
        password: Some("pw".into()),
    };
    let i = Instance { id: "i-1".into(), hostname: "web1".into(), user, user_data, network_config: None };
    write_seed(reader, &i, out.as_ref()).unwrap_or_else(|e| panic!("{e}"));
}
