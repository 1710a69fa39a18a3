//! The blocks of a network in the order in which they are computed, for learning rates that fall from the head down.

use crate::graph::{Graph, Op};

/// The block of the embedding of the timestep, with that of the class where a network has one.
const EMBEDDING: &str = "embedding";

/// What the names of an embedding's parameters begin with: of the UNets of DDPM and diffusers, of EDM2's, of EDM's, of DiT.
const EMBEDDINGS: [&str; 8] = [
    "time_emb",
    EMBEDDING,
    "map_label",
    "map_augment",
    "map_layer0",
    "map_layer1",
    "t_embedder",
    "y_embedder",
];

/// What holds one block after the other: of the UNets of DDPM, diffusers and EDM2, of EDM's, of DiT.
const STACKS: [&str; 6] = ["down", "middle", "up", "enc", "dec", "blocks"];

/// The blocks of a network in the order in which they are computed.
///
/// All that embeds the timestep is one block, the first. What stands in a stack is a block each (`down.0`, `middle.res1`,
/// `enc.16x16_down`, `dec.8x8_block0`, `blocks.3`), and so is whatever else a parameter's name begins with (`image_proj`,
/// `middle1`, `linear_head`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDepths {
    blocks: Vec<String>,
}

impl BlockDepths {
    /// Those of a graph's trained parameters.
    pub fn of(graph: &Graph) -> BlockDepths {
        let mut blocks: Vec<String> = Vec::new();
        for (_, node) in graph.parameters() {
            let block = block_of(&node.name);
            if !matches!(node.op, Op::Parameter { trained: true, .. })
                || blocks.iter().any(|known| known == block)
            {
                continue;
            }
            // Images may be embedded first (DiT); every block is told the timestep.
            match block {
                EMBEDDING => blocks.insert(0, block.to_string()),
                _ => blocks.push(block.to_string()),
            }
        }
        BlockDepths { blocks }
    }

    /// Their names, the head's last.
    pub fn names(&self) -> &[String] {
        &self.blocks
    }

    /// Number of blocks, the head's among them.
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// How many blocks come after a parameter's, nearer to the head: 0 of the head's own.
    pub fn after(&self, parameter: &str) -> usize {
        let block = block_of(parameter);
        let place = self.blocks.iter().position(|known| known == block);
        place.map_or(0, |place| self.blocks.len() - 1 - place)
    }
}

/// The block that a parameter is of.
fn block_of(parameter: &str) -> &str {
    let first = parameter.split('.').next().unwrap_or(parameter);
    if EMBEDDINGS.contains(&first) {
        return EMBEDDING;
    }
    match parameter.split('.').nth(1) {
        Some(second) if STACKS.contains(&first) => &parameter[..first.len() + 1 + second.len()],
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_blocks() {
        for (parameter, block) in [
            ("image_proj.weight", "image_proj"),
            ("time_emb.lin1.bias", "embedding"),
            ("embedding.linear2.weight", "embedding"),
            ("map_layer1.bias", "embedding"),
            ("t_embedder.mlp.2.weight", "embedding"),
            ("down.0.res.time_emb.1.weight", "down.0"),
            ("down.0.res.conv2.1.weight", "down.0"),
            ("middle.res1.norm1.weight", "middle.res1"),
            ("middle.attn.norm.weight", "middle.attn"),
            ("middle1.attn.output.weight", "middle1"),
            ("enc.8x8_block0.conv1.weight", "enc.8x8_block0"),
            ("enc.8x8_conv.weight", "enc.8x8_conv"),
            ("enc.16x16_down.conv0.weight", "enc.16x16_down"),
            ("blocks.3.attn.qkv.weight", "blocks.3"),
            ("linear_head.bias", "linear_head"),
            ("g", "g"),
        ] {
            assert_eq!(block_of(parameter), block, "{parameter}");
        }
    }
}
