package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/tailmarket/tailmarket/internal/app"
	"github.com/tailmarket/tailmarket/internal/id"
)

const partnerUsage = `write one of:
  api partner list
  api partner add  -name NAME
  api partner know -partner ID -marketplace aws|gcp|azure (-reseller ACCOUNT | -offer ID)
  api partner link -partner ID -marketplace aws|gcp|azure [-product ID]`

// partners keeps partners and prints their signed links.
func partners(ctx context.Context, e env) error {
	acts := map[string]func(context.Context, env) error{"list": listPartners, "add": addPartner, "know": knowPartner, "link": linkPartner}
	if len(e.args) == 0 || acts[e.args[0]] == nil {
		return errors.New(partnerUsage)
	}
	act := acts[e.args[0]]
	e.command, e.args = "partner "+e.args[0], e.args[1:]
	return act(ctx, e)
}

// actor is who is asking, in the audit trail.
const actor = "operator"

func listPartners(ctx context.Context, e env) error {
	return e.with(ctx, nil, func(b *app.Base) error {
		s, err := b.Partners(ctx)
		if err != nil {
			return err
		}
		all, err := s.Partners(ctx)
		if err != nil {
			return err
		}
		text := "id\tname\tknown by\tlinks\n"
		for _, p := range all {
			known := ""
			for _, k := range p.Keys {
				known += fmt.Sprintf("%s %s %s  ", k.Marketplace, k.Kind, k.Value)
			}
			text += fmt.Sprintf("%s\t%s\t%s\t%d\n", p.ID, p.Name, cmp.Or(known, "nothing yet"), len(p.Links))
		}
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, werr := io.WriteString(w, text)
		return errors.Join(werr, w.Flush())
	})
}

func addPartner(ctx context.Context, e env) error {
	var name string
	return e.with(ctx, func(fs *flag.FlagSet) { fs.StringVar(&name, "name", "", "the partner's name") }, func(b *app.Base) error {
		s, err := b.Partners(ctx)
		if err != nil {
			return err
		}
		p, err := s.Add(ctx, name, actor)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, p.ID)
		return err
	})
}

// listing adds the flags that name a partner at a marketplace.
func listing(fs *flag.FlagSet, of, marketplace *string) {
	fs.StringVar(of, "partner", "", "the partner's id")
	fs.StringVar(marketplace, "marketplace", "", "aws, gcp or azure")
}

func knowPartner(ctx context.Context, e env) error {
	var of, marketplace, reseller, offer string
	return e.with(ctx, func(fs *flag.FlagSet) {
		listing(fs, &of, &marketplace)
		fs.StringVar(&reseller, "reseller", "", "its account there as a reseller, as the marketplace writes it")
		fs.StringVar(&offer, "offer", "", "an offer there that was made for it")
	}, func(b *app.Base) error {
		s, err := b.Partners(ctx)
		switch {
		case err != nil:
			return err
		case (reseller == "") == (offer == ""):
			return errors.New("name either -reseller or -offer")
		case offer != "":
			return s.Know(ctx, id.Partner(of), marketplace, "offer", offer, actor)
		}
		return s.Know(ctx, id.Partner(of), marketplace, "reseller", reseller, actor)
	})
}

func linkPartner(ctx context.Context, e env) error {
	var of, marketplace, product string
	return e.with(ctx, func(fs *flag.FlagSet) {
		listing(fs, &of, &marketplace)
		fs.StringVar(&product, "product", "tailnet", "the product's id in the catalog")
	}, func(b *app.Base) error {
		s, err := b.Partners(ctx)
		if err != nil {
			return err
		}
		_, path, err := s.MakeLink(ctx, id.Partner(of), marketplace, product, actor)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, b.Config.BaseURL(b.Config.Listen)+path)
		return err
	})
}
