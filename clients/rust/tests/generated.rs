//! The generated code in `src/gen` is that of the protos.
//!
//! `LARDER_GENERATE=1 cargo test -p larder-client --test generated` writes it.
#![allow(clippy::expect_used)]

use std::{env, fs, path::Path};

#[test]
fn the_generated_code_is_that_of_the_protos() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = package.join("../../proto");
    let files = ["larder/v1/cache_service.proto", "larder/v1/admin_service.proto"];
    let descriptors = protox::compile(files, [&protos]).expect("the protos compile");
    let made = tempfile::tempdir().expect("a directory");
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .build_transport(false)
        .server_mod_attribute(".", "#[cfg(feature = \"testing\")]")
        .out_dir(made.path())
        .compile_fds(descriptors)
        .expect("the code is generated");
    let name = "larder.v1.rs";
    let new = fs::read_to_string(made.path().join(name)).expect("the generated code");
    let file = package.join("src/gen").join(name);
    if env::var_os("LARDER_GENERATE").is_some() {
        fs::write(&file, &new).expect("the code is written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == new, "src/gen/{name} is not up to date: see tests/generated.rs");
}
