"""The paper's tables and figures, as sweeps of `gelora` and a report beside the published figures."""
