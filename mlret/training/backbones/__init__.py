"""The encoders that training starts from: new, pretrained and transplanted ones, and joined bags of words."""
