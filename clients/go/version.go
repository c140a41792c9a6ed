package larder

// Version is that of this library.
const Version = "0.1.0"
