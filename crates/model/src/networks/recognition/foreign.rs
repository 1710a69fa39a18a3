//! Networks that have the names of a known one and compute something else: told by what the known one does not have.

use super::{RecogniseError, Shapes};
use crate::networks::registry::Family;
use crate::networks::{DIFFUSERS, inception, vae_encoder};

/// A family, a part of a name that none of its networks has, and what has it.
static FOREIGN: [(&Family, &str, &str); 7] = [
    (&inception::FAMILY, "AuxLogits.", TORCHVISION),
    (&vae_encoder::FAMILY, "quantize.", "a VQ autoencoder, whose latents are entries of a table"),
    (&DIFFUSERS, "transformer_blocks.", "a UNet2DConditionModel, which is guided by text"),
    (&DIFFUSERS, "add_embedding.", "a UNet2DConditionModel, which is guided by text"),
    (&DIFFUSERS, "encoder_hid_proj.", "a UNet2DConditionModel, which is guided by text"),
    (&DIFFUSERS, "temp_conv", "a UNet of videos"),
    (&DIFFUSERS, "controlnet_", "a ControlNet"),
];

const TORCHVISION: &str = "torchvision's Inception-v3, which FID is not measured with: take that of pytorch-fid, \
                           pt_inception-2015-12-05-6726825d.pth";

/// Logits of FID's Inception, which was trained with classes of TensorFlow's.
const FID_LOGITS: usize = 1008;

/// Refuses tensors that networks of this family do not have.
pub(super) fn refuse(family: &'static Family, shapes: &Shapes) -> Result<(), RecogniseError> {
    let wrong = |what: &str, name: &str| {
        let problem = format!("it has '{}': it is {what}", name.escape_debug());
        Err(RecogniseError::Inconsistent { network: family.name, problem })
    };
    for (_, part, what) in FOREIGN.iter().filter(|(known, ..)| *known == family) {
        if let Some((name, _)) = shapes.iter().find(|(name, _)| name.contains(part)) {
            return wrong(what, name);
        }
    }
    match shapes.get("fc.weight") {
        Some(&[rows, _]) if *family == inception::FAMILY && rows != FID_LOGITS => {
            wrong(TORCHVISION, &format!("fc.weight of {rows} rows"))
        }
        _ => Ok(()),
    }
}
