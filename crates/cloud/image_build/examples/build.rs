//! Tries a recipe.
fn main() {
    let mut args = std::env::args().skip(1);
    let recipe = image_build::shipped(&args.next().unwrap()).unwrap();
    let archive = image_build::host_archive().unwrap();
    let start = std::time::Instant::now();
    let out = args.next().unwrap();
    let _ = std::fs::remove_file(&out);
    image_build::build(&recipe, &archive, out.as_ref(), &mut |stage| {
        println!("{:6.1} {stage}", start.elapsed().as_secs_f64())
    })
    .unwrap_or_else(|e| panic!("{e}"));
    println!("{:6.1} done", start.elapsed().as_secs_f64());
}
