//! Networks that make vectors of images: for now the residual networks for CIFAR (He et al. 2016, section 4.2), whose
//! shortcuts between widths have no weights (option A), as their public implementations name the tensors.
//!
//! They are run as they are, with the running statistics of their batch norms: what is trained is a probe over what they
//! make.
//!
//! Shape suffixes: b images, h and w pixels, k channels, d numbers of a vector, c classes.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{ModelError, ModelFiles, files::read_config, weights};

/// What is added to the variance in a batch norm.
const EPSILON: f64 = 1e-5;

/// A network from images to vectors, with the classifier that it came with.
#[derive(Debug)]
pub struct Backbone {
    config: Config,
    /// Every weight by its name, in the order of names.
    tensors: BTreeMap<String, Tensor>,
    mean_k11: Tensor,
    std_k11: Tensor,
    /// Blocks of the three stages.
    blocks: Vec<Vec<Block>>,
    device: Device,
}

/// `config.json`: how pixels become what the network reads. Depth and width are those of the weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Config {
    model_type: String,
    /// Of each colour, of pixels from 0 to 1.
    image_mean: [f64; 3],
    /// See `image_mean`.
    image_std: [f64; 3],
}

/// Two convolutions and what goes around them.
#[derive(Debug)]
struct Block {
    /// In the names of its tensors.
    prefix: String,
    /// Channels that come, and that leave.
    channels: [i64; 2],
}

impl Backbone {
    /// `model_type` in `config.json`.
    pub const MODEL_TYPE: &'static str = fulcrum_common::source::BACKBONE;

    /// Reads a checkpoint; weights become f32 on `device`.
    ///
    /// # Errors
    /// If a file cannot be read, the configuration is of another kind, or a tensor is missing, extra, misshapen or not
    /// finite.
    pub fn load(files: &ModelFiles, device: Device) -> Result<Self, ModelError> {
        let text = read_config(&files.config)?;
        let config: Config = serde_json::from_str(&text)
            .map_err(|reason| ModelError::Config { path: files.config.clone(), reason })?;
        if config.model_type != Self::MODEL_TYPE {
            let (field, found) = ("model_type", format!("{:?}", config.model_type));
            return Err(ModelError::field(field, found, format!("only {:?} reads images", Self::MODEL_TYPE)));
        }
        if let Some(std) = config.image_std.iter().find(|std| **std <= 0.0) {
            return Err(ModelError::field("image_std", std, "it must be above 0"));
        }
        // Batches that were seen in training, of which nothing depends here.
        let tensors = weights::read_all(&files.weights, "num_batches_tracked")?;
        let tensors: BTreeMap<_, _> =
            tensors.into_iter().map(|(name, tensor)| (name, tensor.to_device(device))).collect();
        Self::assemble(config, tensors, &files.config, device)
    }

    fn assemble(
        config: Config,
        tensors: BTreeMap<String, Tensor>,
        path: &Path,
        device: Device,
    ) -> Result<Self, ModelError> {
        let first = find(&tensors, "conv1.weight", path)?.size().first().copied().unwrap_or(0);
        if first == 0 {
            return Err(ModelError::field("conv1.weight", "no channels", "it must have some"));
        }
        let blocks: Vec<Vec<Block>> = (0..3u32)
            .map(|stage| {
                let begins =
                    |at: &usize| tensors.contains_key(&format!("layer{}.{at}.conv1.weight", stage + 1));
                let wide = first << stage;
                let block = |at: usize| Block {
                    prefix: format!("layer{}.{at}.", stage + 1),
                    channels: [if at == 0 && stage > 0 { wide / 2 } else { wide }, wide],
                };
                (0..).take_while(begins).map(block).collect()
            })
            .collect();
        let colours =
            |values: [f64; 3]| Tensor::from_slice(&values.map(|value| value as f32)).view([3, 1, 1]);
        let (mean_k11, std_k11) =
            (colours(config.image_mean).to_device(device), colours(config.image_std).to_device(device));
        let backbone = Self { config, tensors, mean_k11, std_k11, blocks, device };
        backbone.check(first, path)?;
        Ok(backbone)
    }

    /// Names and shapes.
    fn check(&self, first: i64, path: &Path) -> Result<(), ModelError> {
        let mut wanted = vec![("conv1.weight".to_owned(), vec![first, 3, 3, 3])];
        let norm = |name: &str, width: i64| {
            ["weight", "bias", "running_mean", "running_var"]
                .map(|part| (format!("{name}.{part}"), vec![width]))
        };
        wanted.extend(norm("bn1", first));
        for Block { prefix, channels: [from, to] } in self.blocks.iter().flatten() {
            wanted.push((format!("{prefix}conv1.weight"), vec![*to, *from, 3, 3]));
            wanted.push((format!("{prefix}conv2.weight"), vec![*to, *to, 3, 3]));
            wanted.extend(norm(&format!("{prefix}bn1"), *to));
            wanted.extend(norm(&format!("{prefix}bn2"), *to));
        }
        let classes = find(&self.tensors, "linear.bias", path)?.numel() as i64;
        wanted.push(("linear.weight".to_owned(), vec![classes, first << 2]));
        wanted.push(("linear.bias".to_owned(), vec![classes]));
        for (name, shape) in &wanted {
            let found = find(&self.tensors, name, path)?.size();
            if found != *shape {
                let sizes = |shape: &[i64]| shape.iter().map(|&size| size as usize).collect();
                let (found, expected) = (sizes(&found), sizes(shape));
                return Err(ModelError::Shape { path: path.to_owned(), name: name.clone(), found, expected });
            }
        }
        let known: std::collections::BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
        match self.tensors.keys().find(|name| !known.contains(name)) {
            Some(name) => Err(ModelError::Extra { path: path.to_owned(), name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Vectors f32 `[b, d]` of images, u8 `[b, h, w, 3]` on the CPU.
    ///
    /// # Errors
    /// If the images are of another shape or kind.
    pub fn features(&self, pixels_bhwk: &Tensor) -> Result<Tensor, ModelError> {
        let shape = pixels_bhwk.size();
        if shape.len() != 4 || shape[3] != 3 || shape.contains(&0) || pixels_bhwk.kind() != Kind::Uint8 {
            let kind = pixels_bhwk.kind();
            let message = format!("its images are {kind:?} {shape:?}, not Uint8 [images, height, width, 3]");
            return Err(ModelError::Batch(message));
        }
        let _guard = tch::no_grad_guard();
        let x_bkhw = pixels_bhwk.to_device(self.device).permute([0, 3, 1, 2]).to_kind(Kind::Float) / 255.0;
        let x_bkhw = (x_bkhw - &self.mean_k11) / &self.std_k11;
        let mut x_bkhw = self.norm("bn1", &self.conv("conv1", &x_bkhw, 1)).relu();
        for block in self.blocks.iter().flatten() {
            x_bkhw = self.block(block, &x_bkhw);
        }
        Ok(x_bkhw.mean_dim([2i64, 3].as_slice(), false, Kind::Float))
    }

    fn block(&self, Block { prefix, channels: [from, to] }: &Block, x_bkhw: &Tensor) -> Tensor {
        let stride = if from == to { 1 } else { 2 };
        let part = |name: &str| format!("{prefix}{name}");
        let inner_bkhw = self.norm(&part("bn1"), &self.conv(&part("conv1"), x_bkhw, stride)).relu();
        let inner_bkhw = self.norm(&part("bn2"), &self.conv(&part("conv2"), &inner_bkhw, 1));
        let shortcut_bkhw = if from == to {
            x_bkhw.shallow_clone()
        } else {
            // Every other pixel; the channels that are new are zero, half of them before and half after.
            let every_other = x_bkhw.slice(2, 0, i64::MAX, 2).slice(3, 0, i64::MAX, 2);
            let (before, after) = ((to - from) / 2, (to - from) - (to - from) / 2);
            every_other.constant_pad_nd([0, 0, 0, 0, before, after])
        };
        (inner_bkhw + shortcut_bkhw).relu()
    }

    fn conv(&self, name: &str, x_bkhw: &Tensor, stride: i64) -> Tensor {
        let weight = &self.tensors[&format!("{name}.weight")];
        x_bkhw.conv2d(weight, None::<Tensor>, [stride, stride], [1, 1], [1, 1], 1)
    }

    fn norm(&self, name: &str, x_bkhw: &Tensor) -> Tensor {
        let part = |part: &str| Some(&self.tensors[&format!("{name}.{part}")]);
        let (mean, variance) = (part("running_mean"), part("running_var"));
        x_bkhw.batch_norm(part("weight"), part("bias"), mean, variance, false, 0.0, EPSILON, false)
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.tensors["linear.weight"].size()[1] as usize
    }

    /// The classifier that the network came with: weights `[c, d]` and biases `[c]`.
    pub fn classifier(&self) -> (&Tensor, &Tensor) {
        (&self.tensors["linear.weight"], &self.tensors["linear.bias"])
    }

    /// Parameters below the classifier; running statistics are none.
    pub fn parameter_count(&self) -> usize {
        let counted = |name: &str| !name.contains(".running_") && !name.starts_with("linear.");
        self.tensors.iter().filter(|(name, _)| counted(name)).map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Writes `config.json` and `model.safetensors` (f32) into `folder`. The same network gives the same bytes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        let config = folder.join(ModelFiles::CONFIG);
        let text = serde_json::to_string_pretty(&self.config).map_err(ModelError::unwritten(&config))?;
        std::fs::write(&config, text + "\n").map_err(ModelError::unwritten(&config))?;
        let named = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        weights::write_named(
            &folder.join(ModelFiles::WEIGHTS),
            &self.tensors.iter().map(named).collect::<Vec<_>>(),
        )
    }
}

fn find<'a>(
    tensors: &'a BTreeMap<String, Tensor>,
    name: &str,
    path: &Path,
) -> Result<&'a Tensor, ModelError> {
    tensors.get(name).ok_or_else(|| ModelError::Missing { path: path.to_owned(), name: name.to_owned() })
}
