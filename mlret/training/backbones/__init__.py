"""The encoders that training starts from: new, pretrained, transplanted, joined."""
