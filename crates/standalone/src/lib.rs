//! Clusters that need nothing else: this machine.
