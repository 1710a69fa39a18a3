//! Networks whose weights others publish, through libtorch, against what their own code computed.

mod torch_case;

use ddae_tests::imported::{dit, fid_inception, vae_encoder};
use torch_case::check;

#[test]
fn dit_network() {
    check(&dit(true, true));
    check(&dit(false, false));
}

#[test]
fn vae_encoder_network() {
    check(&vae_encoder());
}

#[test]
fn fid_inception_network() {
    check(&fid_inception());
}
