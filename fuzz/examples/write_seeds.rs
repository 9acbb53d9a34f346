//! Writes the seeds of all targets to `corpus/`, each as `seed-NAME`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in yagura_fuzz::TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, seed) in (target.seeds)() {
            std::fs::write(folder.join(format!("seed-{name}")), seed)?;
        }
    }
    Ok(())
}
