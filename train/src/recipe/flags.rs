//! Command-line flags that override recipe keys.

use super::ClassWeights;
use crate::pretrained;
use anyhow::{Context, Result};
use models::architecture::Kind;
use serde::Serialize;
use std::path::Path;
use toml::{Table, Value};

/// Recipe keys overridden by command-line flags. Each field has the name of its flag.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Overrides {
    pub arch: Option<Kind>,
    pub width: Option<f64>,
    pub resolution: Option<usize>,
    pub stem_stride: Option<usize>,
    pub from: Option<String>,
    pub freeze: Option<usize>,
    pub epochs: Option<usize>,
    pub batch_size: Option<usize>,
    pub lr: Option<f64>,
    pub momentum: Option<f64>,
    pub weight_decay: Option<f64>,
    pub seed: Option<u64>,
    pub hold_out: Option<usize>,
    pub class_weights: Option<ClassWeights>,
}

impl Overrides {
    /// The given flags as a partial recipe that sets only these keys.
    pub(super) fn to_table(&self) -> Result<Table> {
        fn set<T: Serialize>(table: &mut Table, key: &str, value: Option<T>) -> Result<()> {
            if let Some(value) = value {
                let value = Value::try_from(value).with_context(|| format!("{key} cannot be written as TOML"))?;
                table.insert(key.to_owned(), value);
            }
            Ok(())
        }
        let (mut top, mut network, mut optimizer) = (Table::new(), Table::new(), Table::new());
        set(&mut network, "arch", self.arch)?;
        set(&mut network, "width", self.width)?;
        set(&mut network, "resolution", self.resolution)?;
        set(&mut network, "stem_stride", self.stem_stride)?;
        set(&mut top, "from", self.from.as_deref().map(|from| pretrained::absolute(from, Path::new(""))).transpose()?)?;
        set(&mut top, "freeze", self.freeze)?;
        set(&mut top, "epochs", self.epochs)?;
        set(&mut top, "batch_size", self.batch_size)?;
        set(&mut optimizer, "lr", self.lr)?;
        set(&mut optimizer, "momentum", self.momentum)?;
        set(&mut optimizer, "weight_decay", self.weight_decay)?;
        set(&mut top, "seed", self.seed)?;
        set(&mut top, "hold_out", self.hold_out)?;
        set(&mut top, "class_weights", self.class_weights)?;
        top.insert("network".to_owned(), network.into());
        top.insert("optimizer".to_owned(), optimizer.into());
        Ok(top)
    }
}
