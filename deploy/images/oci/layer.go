package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layer is what the manifest and the configuration say about a layer.
type layer struct {
	// digest and size are of the bytes as stored, diffID of the bare tar.
	digest, diffID v1.Hash
	size           int64
}

// writeLayer writes the nodes as a layer to w.
func writeLayer(w io.Writer, nodes []node, compress bool) (layer, error) {
	stored := &measured{w: w, sum: sha256.New()}
	var packed io.Writer = stored
	var gz *gzip.Writer
	if compress {
		gz, _ = gzip.NewWriterLevel(stored, gzip.BestCompression)
		packed = gz
	}
	bare := &measured{w: packed, sum: sha256.New()}
	tw := tar.NewWriter(bare)
	for _, n := range nodes {
		if err := writeNode(tw, n); err != nil {
			return layer{}, err
		}
	}
	if err := tw.Close(); err != nil {
		return layer{}, fmt.Errorf("closing the layer: %w", err)
	}
	if gz != nil {
		if err := gz.Close(); err != nil {
			return layer{}, fmt.Errorf("compressing the layer: %w", err)
		}
	}
	return layer{digest: stored.digest(), diffID: bare.digest(), size: stored.size}, nil
}

func writeNode(tw *tar.Writer, n node) error {
	if n.file == nil {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: n.path + "/", Mode: tarMode(n.mode)}
		return writeHeader(tw, h)
	}
	content, size, mode, err := n.file.open()
	if err != nil {
		return err
	}
	defer content.Close()
	if n.mode != 0 {
		mode = n.mode
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: n.path, Size: size, Mode: tarMode(mode)}
	if len(n.file.Capabilities) > 0 {
		h.Format = tar.FormatPAX
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": fileCapability(n.file.Capabilities)}
	}
	if err := writeHeader(tw, h); err != nil {
		return err
	}
	if _, err := io.Copy(tw, content); err != nil {
		return fmt.Errorf("copying %s into the layer: %w", n.path, err)
	}
	return nil
}

func writeHeader(tw *tar.Writer, h *tar.Header) error {
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("entry %s of the layer: %w", h.Name, err)
	}
	return nil
}

// open returns the file's content, its length and its mode on the host.
func (f *File) open() (io.ReadCloser, int64, fs.FileMode, error) {
	if f.Host == "" {
		return io.NopCloser(bytes.NewReader(f.Content)), int64(len(f.Content)), 0o644, nil
	}
	h, err := os.Open(f.Host)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("file for %s: %w", f.Path, err)
	}
	info, err := h.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Host)
	}
	if err != nil {
		h.Close()
		return nil, 0, 0, fmt.Errorf("file for %s: %w", f.Path, err)
	}
	return h, info.Size(), info.Mode(), nil
}

// tarMode gives a mode in the bits of tar, which are those of chmod(2).
func tarMode(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// fileCapability is the value of the attribute security.capability that makes
// the given capabilities permitted and effective at exec: struct vfs_cap_data,
// revision 2, of linux/capability.h.
func fileCapability(caps []int) string {
	const revision2, effective = 0x02000000, 0x000001
	var set uint64
	for _, c := range caps {
		set |= 1 << c
	}
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, revision2|effective)
	b = binary.LittleEndian.AppendUint32(b, uint32(set)) // permitted, low word
	b = binary.LittleEndian.AppendUint32(b, 0)           // inheritable
	b = binary.LittleEndian.AppendUint32(b, uint32(set>>32))
	b = binary.LittleEndian.AppendUint32(b, 0)
	return string(b)
}

// measured passes bytes on and knows their number and digest.
type measured struct {
	w    io.Writer
	sum  hash.Hash
	size int64
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.sum.Write(p[:n])
	m.size += int64(n)
	return n, err
}

func (m *measured) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(m.sum.Sum(nil))}
}
