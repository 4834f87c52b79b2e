"""Recurrent layers: LSTM, GRU and RNN with packed weights."""
